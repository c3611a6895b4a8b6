"""Breaks commands while they run: ``make chaos``, or with ``--help``.

Each case is a command and a fault at a random moment, both drawn by the seed and the case's number.
Afterwards: no traceback; an exit code of docs/exit_codes.md; nothing that still runs after 15 s and
nothing in the temporary folder; every trial that was seen in a result file is in it still, or in
the file that the error names; and ``--resume`` finishes what was interrupted. A case that fails is
kept, and the exit code is 1. Cases that are done are written down, and are not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

sys.path[:0] = [str(Path(__file__).parents[2])]

from ffprof.records.store import RESULT_FILES, load_any  # noqa: E402

MARK = "FFPROF_CHAOS"  # a variable that only what a case has started has with its value
GONE_SECONDS = 15.0
ENDS_SECONDS = 600.0
CODES = {0, 2, 3, 70, 130, 143}
TINY = ["--preset", "smoke", "--threads", "1", "--steps", "1"]
CPU = [*TINY, "--device", "cpu"]
# What is run, and how it is finished; FILE is the result file that is there.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "run": (
        ["run", *CPU, "--rounds", "3", "--workloads", "bp,bp-accum"],
        ["run", "--resume", "FILE"],
    ),
    "frontier": (
        ["frontier", *CPU, "--rounds", "2", "--workloads", "bp,bp-accum",
         "--micro-batches", "8,16"],
        ["frontier", "--resume", "FILE"],
    ),
    "calibrate": (
        ["calibrate", *CPU, "--rounds", "10", "--workloads", "bp"],
        ["run", "--resume", "FILE"],
    ),
    "max-batch": (
        ["run", "--preset", "smoke", "--max-batch", "--device", "estimate", "--workloads",
         "bp,bp-accum"],
        ["run", "--preset", "smoke", "--max-batch", "--device", "estimate", "--workloads",
         "bp,bp-accum", "--resume", "FILE"],
    ),
}  # fmt: skip
TORCH_CACHE = "torchinductor_"  # PyTorch's own, which it keeps in the temporary folder
TRACEBACK = "Traceback (most recent call last)"


class Broken(Exception):
    """What a case found."""


@dataclass
class Case:
    """One command that is to be broken."""

    number: int
    seed: int
    folder: Path
    random: Random = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    lost: bool = False  # the fault takes the result file with it
    trials: int = 0  # the most that a result file was seen to hold

    def __post_init__(self) -> None:
        self.random = Random(f"{self.seed}-{self.number}")
        self.name = self.random.choice(list(COMMANDS))
        self.fault = self.random.choice(list(FAULTS))
        self.at = self.random.random()

    @property
    def out(self) -> Path:
        """The folder for results."""
        return self.folder / "out"

    @property
    def temporary(self) -> Path:
        """The temporary folder."""
        return self.folder / "temporary"

    def environment(self) -> dict[str, str]:
        """Of the command."""
        return {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            MARK: str(self.folder),
        }

    def start(self, words: list[str]) -> subprocess.Popen[bytes]:
        """Start ffprof in the case's folder."""
        redirections = " ".join(REDIRECTIONS.get(self.fault, ()))
        command = ["sh", "-c", f'exec "$@" {redirections}', "sh"]
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            return subprocess.Popen(
                [*command, sys.executable, "-m", "ffprof", *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                cwd=self.folder, env=self.environment(),
            )  # fmt: skip

    def said(self) -> str:
        """What it printed."""
        return "".join((self.folder / n).read_text(errors="replace") for n in ("stdout", "stderr"))

    def files(self) -> list[Path]:
        """Result files, wherever they were written."""
        places = (self.out, self.folder, self.temporary)
        return [f for place in places for pattern in RESULT_FILES for f in place.glob(pattern)]

    def look(self) -> None:
        """Take note of how many trials are stored."""
        with contextlib.suppress(OSError):
            self.trials = max(self.trials, stored(self.files()))


def stored(files: list[Path]) -> int:
    """The most trials that one of the files holds."""
    return max((trials_of(file) for file in files), default=0)


def trials_of(file: Path) -> int:
    """Trials, or sizes that were found."""
    document = json.loads(file.read_text())
    points = document.get("points", ())
    return (
        len(document.get("trials", ()))
        + len(document.get("capacities", ()))
        + sum(len(point["trials"]) for point in points)
    )


def signalled(number: int) -> Callable[[Case], None]:
    """Sends the command a signal."""
    return lambda case: case.process.send_signal(number)


def group_signalled(number: int) -> Callable[[Case], None]:
    """As a terminal does."""
    return lambda case: os.killpg(case.process.pid, number)


def child_signalled(number: int) -> Callable[[Case], None]:
    """Sends one of the processes that the command has started a signal."""

    def send(case: Case) -> None:
        found = psutil.Process(case.process.pid).children(recursive=True)
        if found:
            case.random.choice(found).send_signal(number)

    return send


def without(name: str, *, replace: bool = False) -> Callable[[Case], None]:
    """Removes a folder, or puts a file in its place."""

    def remove(case: Case) -> None:
        place = getattr(case, name)
        case.lost = name == "out"
        # What it holds may be in use and change meanwhile.
        shutil.rmtree(place, ignore_errors=True)
        if replace and not place.exists():
            place.write_text("")

    return remove


def stopped(case: Case) -> None:
    """Stops the whole group for a while, as a shell's Ctrl-Z and ``fg`` do."""
    os.killpg(case.process.pid, signal.SIGSTOP)
    time.sleep(1)
    os.killpg(case.process.pid, signal.SIGCONT)


def nothing(case: Case) -> None:
    """The streams are the fault."""


FAULTS: dict[str, Callable[[Case], None]] = {
    "SIGINT": signalled(signal.SIGINT),
    "SIGINT to the group": group_signalled(signal.SIGINT),
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGHUP": signalled(signal.SIGHUP),
    "SIGKILL": signalled(signal.SIGKILL),
    "a child: SIGKILL": child_signalled(signal.SIGKILL),
    "a child: SIGSEGV": child_signalled(signal.SIGSEGV),
    "a child: SIGTERM": child_signalled(signal.SIGTERM),
    "a child: a real-time signal": child_signalled(signal.SIGRTMIN + 6),
    "no temporary folder": without("temporary"),
    "a file for a temporary folder": without("temporary", replace=True),
    "no output folder": without("out"),
    "a file for an output folder": without("out", replace=True),
    "stopped": stopped,
    "no streams": nothing,
    "standard output is full": nothing,
    "standard error is full": nothing,
}
REDIRECTIONS = {
    "no streams": ("<&-", ">&-", "2>&-"),
    "standard output is full": (">/dev/full",),
    "standard error is full": ("2>/dev/full",),
}


def left(case: Case) -> list[psutil.Process]:
    """What the case has started and that still runs."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if one.environ().get(MARK) == str(case.folder):
                found.append(one)
    return found


def end(case: Case, process: subprocess.Popen[bytes]) -> int:
    """Wait for a command and look at what it leaves."""
    deadline = time.monotonic() + ENDS_SECONDS
    while process.poll() is None:
        case.look()
        if time.monotonic() > deadline:
            raise Broken(f"it did not end in {ENDS_SECONDS:g} s")
        time.sleep(0.05)
    deadline = time.monotonic() + GONE_SECONDS
    while running := left(case):
        if time.monotonic() > deadline:
            raise Broken(f"still there after {GONE_SECONDS:g} s: {' '.join(map(str, running))}")
        time.sleep(0.1)
    if TRACEBACK in case.said():
        raise Broken("a traceback")
    return process.returncode


def break_one(case: Case, seconds: float) -> str:
    """Run a case; how it ended.

    Raises:
        Broken: something was lost or left, or ended otherwise than it should.
    """
    case.temporary.mkdir(parents=True)
    words, resume = COMMANDS[case.name]
    began = time.monotonic()
    case.process = case.start([*words, "--out", "out"])
    while time.monotonic() - began < case.at * seconds and case.process.poll() is None:
        case.look()
        time.sleep(0.05)
    if case.process.poll() is None:
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            FAULTS[case.fault](case)
    code = end(case, case.process)
    if code not in CODES and code not in (-signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM,
                                          -signal.SIGHUP):  # fmt: skip
        raise Broken(f"exit code {code}")
    if code == 70:
        raise Broken("not foreseen")
    found = case.temporary.iterdir() if case.temporary.is_dir() else ()
    rest = [one.name for one in found if not one.name.startswith(TORCH_CACHE)]
    if rest:
        raise Broken(f"in the temporary folder: {', '.join(rest)}")
    files = case.files()
    check_kept(case, code, files)
    return f"{code}{finish(case, files, resume)}"


def check_kept(case: Case, code: int, files: list[Path]) -> None:
    """Whether what was seen is there, or was taken away by the fault after the command ended."""
    for file in files:
        load_any(file)
    if stored(files) >= case.trials:
        return
    named = re.search(r"what was done is kept in (\S+)", case.said())
    if case.lost and code != 2 and not named:
        return  # it had stored its last trial, and wrote nothing any more
    raise Broken(f"{case.trials} trials were stored, and {stored(files)} are left")


def finish(case: Case, files: list[Path], resume: list[str]) -> str:
    """Resume what is not complete."""
    begun = [file for file in files if file.name.startswith(("audit-", "frontier-", "capacity-"))]
    if not begun or not resume:
        return ""
    for place in (case.temporary, case.out):
        if place.is_file():
            place.unlink()
        place.mkdir(exist_ok=True)
    case.fault = "none"
    (file,) = begun
    code = end(case, case.start([str(file) if word == "FILE" else word for word in resume]))
    record = load_any(file)
    missing = record.missing() if hasattr(record, "missing") else getattr(record, "stopped", "")
    if code != 0 or missing:
        raise Broken(f"--resume ended with {code}: {case.said()[-500:]}")
    return ", resumed"


def undisturbed(keep: Path, seed: int) -> dict[str, float]:
    """How long commands take here, by name; it is found out once."""
    known = keep / "seconds.json"
    if not known.exists():
        known.write_text(json.dumps(dict(timed(keep, seed))))
    found: dict[str, float] = json.loads(known.read_text())
    return found


def timed(keep: Path, seed: int) -> Iterator[tuple[str, float]]:
    """Runs every command without a fault."""
    for name, (words, _) in COMMANDS.items():
        case = Case(-1, seed, keep / f"whole-{name}")
        shutil.rmtree(case.folder, ignore_errors=True)
        case.temporary.mkdir(parents=True)
        case.fault, began = "none", time.monotonic()
        if end(case, case.start([*words, "--out", "out"])) != 0:
            raise SystemExit(f"{name} fails without a fault: {case.said()}")
        yield name, time.monotonic() - began
        shutil.rmtree(case.folder)


def run(cases: int, seed: int, keep: Path, limit: float) -> int:
    """All cases that are not done yet; the exit code."""
    keep.mkdir(parents=True, exist_ok=True)
    log = keep / f"done-{seed}.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known, began = {one["case"] for one in done}, time.monotonic()
    seconds = undisturbed(keep, seed) if len(known) < cases else {}
    for number in (n for n in range(cases) if n not in known):
        if time.monotonic() - began > limit:
            print(f"the limit of {limit:g} s is over; the same command goes on with case {number}")
            break
        case = Case(number, seed, keep / f"case-{seed}-{number}")
        shutil.rmtree(case.folder, ignore_errors=True)
        name, fault = case.name, case.fault
        try:
            ended = break_one(case, seconds[name])
        except Broken as error:
            for one in left(case):
                with contextlib.suppress(psutil.Error):
                    one.kill()
            words = shlex.join(COMMANDS[name][0])
            print(f"case {number}: {fault} at {case.at:.0%} of {words}: {error}")
            print(f"it is kept in {case.folder}; what it said:\n{case.said()[-2000:]}")
            return 1
        shutil.rmtree(case.folder, ignore_errors=True)
        done.append({"case": number, "command": name, "fault": fault, "ended": ended})
        with log.open("a") as file:
            file.write(f"{json.dumps(done[-1])}\n")
        print(f"case {number}: {name}, {fault} at {case.at:.0%}: {ended}", flush=True)
    for (fault, ended), count in sorted(Counter((o["fault"], o["ended"]) for o in done).items()):
        print(f"{count:5}  {fault}: {ended}")
    print(
        f"{len(done)} of {cases} cases with seed {seed}: nothing lost, nothing left, no traceback"
    )
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Break commands while they run.")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=4 * 3600, help="seconds, then go on later")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "ffprof-chaos")
    asked = parser.parse_args()
    return run(asked.cases, asked.seed, asked.keep.resolve(), asked.limit)


if __name__ == "__main__":
    sys.exit(main())
