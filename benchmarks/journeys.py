"""What a reader opens to follow a command: files, functions and calls, counted by running it.

Every process of a command is followed, forked and spawned children included. Of a checkout without
a .venv of its own, the interpreter that runs this script is used.

    python benchmarks/journeys.py [CHECKOUT ...]     # two or more are printed side by side

What is printed:

files       files of ffprof/ of which a function ran while the command ran. What runs because a
            module is imported does not count, nor do lambdas and comprehensions.
functions   such functions.
calls       pairs of different files of which one called into the other, with nothing of ffprof
            between them.

Of the opening of ``run``, from its function in cli/ to the first one of audit/runner.py, in the
process of the command:

times       how often a function ran that should run once.
climbs      how often a reader who opens functions in the order in which they first run is led back
            up: from a package below to the code that opens an experiment (cli/, experiments/).
            Below: imported by it, directly or through others. Schemas (records/) and the modules
            that all import (errors, units, version) are passed over, as they are used everywhere.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Python runs a module of this name first, in every process. Each process writes a file of its own,
# at once, because trials end without the exit of an interpreter.
FOLLOWER = '''
import json, os, sys, threading

_INSIDE = os.path.join(os.environ["FFPROF_JOURNEY"], "ffprof") + os.sep
_TO = os.environ["FFPROF_JOURNEY_TO"]
_COMMAND = int(os.environ.setdefault("FFPROF_JOURNEY_COMMAND", str(os.getpid())))
_seen, _of = set(), {}


def _name(code):
    """The file of a function of ffprof, or nothing; bodies of modules and classes are none."""
    if code not in _of:
        inside = code.co_flags & 1 and code.co_filename.startswith(_INSIDE)
        _of[code] = code.co_filename[len(_INSIDE):] if inside else ""
    return _of[code]


def _write(words):
    target = os.open(f"{_TO}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(target, (json.dumps(words) + "\\n").encode())
    os.close(target)


def _follow(frame, event, argument):
    if event != "call" or not _name(frame.f_code):
        return
    code, file = frame.f_code, _name(frame.f_code)
    if code.co_name.startswith("<"):
        return
    caller, back = "", frame.f_back
    while back is not None:
        if back.f_code.co_filename.startswith("<frozen importlib"):
            return  # because of an import
        caller = caller or _name(back.f_code)
        back = back.f_back
    call = (caller, file, code.co_qualname)
    main = os.getpid() == _COMMAND and threading.current_thread() is threading.main_thread()
    if call not in _seen or code.co_name in NAMES:
        _seen.add(call)
        _write([*call, main])


NAMES = set(os.environ["FFPROF_JOURNEY_NAMES"].split(","))
# As it returns nothing, lines are not traced.
threading.settrace(_follow)
sys.settrace(_follow)
'''

# What a `run` should do once each, by every name it has had.
ONCE = ("choose_recipe", "choose_preset", "check_recipe", "check_data")
RUNNER = "audit/runner.py"  # the opening ends here
OPENING = ("cli", "experiments")
# Schemas, and what all import: where they are today, and where they were, files at the root.
EVERYWHERE = {
    "records", "errors", "units", "version", "record", "trial_record", "gpu_record", "recipe",
    "verdict_record", "frontier_record", "calibration_record", "peak_record", "record_part",
}  # fmt: skip
ROWS = ("--workloads", "bp,dtg-ff")
SMOKE = ("--preset", "smoke", "--device", "cpu", *ROWS, "--threads", "1")


@dataclass
class Journey:
    """What ran."""

    functions: set[tuple[str, str]] = field(default_factory=set)
    edges: set[tuple[str, str]] = field(default_factory=set)
    called: Counter[str] = field(default_factory=Counter)
    order: list[tuple[str, str]] = field(default_factory=list)  # in the process of the command

    @property
    def files(self) -> set[str]:
        """The files of these functions."""
        return {file for file, _ in self.functions}

    @property
    def packages(self) -> Counter[str]:
        """How many of the files each package has."""
        return Counter(package_of(file) for file in self.files)


def package_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def follow(checkout: Path, words: Iterable[str], folder: Path) -> Journey:
    """Run a command of a checkout, and say what of it ran."""
    own = checkout / ".venv" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "sitecustomize.py").write_text(FOLLOWER)
        (to := Path(place) / "calls").mkdir()
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join([place, str(checkout)]),
            "FFPROF_JOURNEY": str(checkout),
            "FFPROF_JOURNEY_TO": str(to),
            "FFPROF_JOURNEY_NAMES": ",".join(ONCE),
        }
        done = subprocess.run(
            [python, "-m", "ffprof", *words], cwd=folder, env=env, capture_output=True, text=True
        )
        # `check` says with 1 or 4 what it found.
        if done.returncode not in (0, 1, 4):
            sys.exit(f"{checkout}: ffprof {' '.join(words)} failed:\n{done.stderr}")
        journey = Journey()
        for line in lines_of(to):
            caller, file, name, main = json.loads(line)
            journey.functions.add((file, name))
            journey.called[name.rsplit(".", 1)[-1]] += 1
            if caller and caller != file:
                journey.edges.add((caller, file))
            if main:
                journey.order.append((file, name))
    return journey


def lines_of(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        yield from path.read_text().splitlines()


def imports(checkout: Path) -> dict[str, set[str]]:
    """Package -> the packages it imports, directly or through others; files at the root too."""
    direct: dict[str, set[str]] = {}
    for path in (checkout / "ffprof").rglob("*.py"):
        own = package_of(str(path.relative_to(checkout / "ffprof")))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ffprof."):
                direct.setdefault(own, set()).add((node.module or "").split(".")[1])
    direct = {name: found - {name} for name, found in direct.items() if not name.startswith("__")}
    changed = True
    while changed:
        changed = False
        for found in direct.values():
            further = set().union(*(direct.get(name, set()) for name in found)) - found
            changed = changed or bool(further)
            found |= further
    return direct


def climbs(order: list[tuple[str, str]], above: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The steps of an opening that lead back up: the last function and the next."""
    first = list(dict.fromkeys(order))
    begin = next(i for i, (file, name) in enumerate(first) if (file, name) == ("cli/run.py", "run"))
    end = next(i for i, (file, _) in enumerate(first) if file.endswith(RUNNER))
    opened = [step for step in first[begin:end] if package_of(step[0]) not in EVERYWHERE]
    return [
        (f"{last[0]}:{last[1]}", f"{now[0]}:{now[1]}")
        for last, now in pairwise(opened)
        if package_of(now[0]) in OPENING and package_of(last[0]) in above[package_of(now[0])]
    ]


def journeys(checkout: Path) -> tuple[dict[str, Journey], list[tuple[str, str]]]:
    """The five journeys of a checkout, and the climbs of the first."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def audit(out: str) -> tuple[str, ...]:
            return ("run", *SMOKE, "--steps", "2", "--rounds", "1", "--out", out)

        run = follow(checkout, audit("audit"), folder)
        follow(checkout, audit("later"), folder)
        before, after = (str(next((folder / name).glob("*.json"))) for name in ("audit", "later"))
        against = ("check", "--baseline", before)
        found = {
            "run": run,
            "estimate": follow(checkout, ("estimate", "--preset", "smoke", *ROWS), folder),
            "check --current": follow(checkout, (*against, "--current", after), folder),
            "check": follow(checkout, against, folder),
            "frontier": follow(
                checkout,
                ("frontier", *SMOKE, "--steps", "2", "--rounds", "1", "--out", "frontier"),
                folder,
            ),
        }
    return found, climbs(run.order, imports(checkout))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT])
    checkouts = [path.resolve() for path in parser.parse_args().checkouts]
    results = [journeys(checkout) for checkout in checkouts]
    for number, checkout in enumerate(checkouts):
        print(f"[{number}] {checkout}")
    print()

    def row(name: str, values: Iterable[object]) -> None:
        print(f"{name:34}" + " ".join(f"{value!s:>8}" for value in values))

    row("", [f"[{number}]" for number in range(len(checkouts))])
    for name in results[0][0]:
        runs = [found[name] for found, _ in results]
        print(name)
        row("  files", [len(one.files) for one in runs])
        for package in sorted(set().union(*(one.packages for one in runs))):
            row(f"    {package}", [one.packages.get(package, "") for one in runs])
        row("  functions", [len(one.functions) for one in runs])
        row("  calls from file to file", [len(one.edges) for one in runs])
    print("the opening of run")
    for name in ONCE:
        row(f"  {name}, times", [found["run"].called[name] for found, _ in results])
    row("  climbs", [len(up) for _, up in results])
    for number, (_, up) in enumerate(results):
        for last, now in up:
            print(f"    [{number}] {last} -> {now}")


if __name__ == "__main__":
    main()
