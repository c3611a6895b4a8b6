"""Reads damaged files until one breaks a reader: ``make fuzz``, or with ``--help``.

An input is kept, and the exit code 1, on the first exception that is not a deliberate error of one
line, and on the first input that takes more than 2 s of a processor or 500 MB. The same seed gives
the same inputs.
"""

from __future__ import annotations

import argparse
import gc
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FrameType

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

from hostile_records import KINDS, Damage  # noqa: E402
from hostile_thresholds import THRESHOLD_KINDS, ThresholdDamage  # noqa: E402
from surviving import read_or_refused, survives, thresholds_or_refused  # noqa: E402

SECONDS, MEGABYTES = 2.0, 500
_HANGS = 120.0  # seconds on the clock


def record(path: Path) -> bool:
    """Whether a damaged result file is read all the same."""
    record = read_or_refused(path)
    if record is None:
        return False
    survives(record)
    return True


# What is fuzzed: its kinds of damage, what makes one input, and what reads it.
SUBJECTS: dict[str, tuple[tuple[str, ...], Callable[[Random, str], bytes], Callable[[Path], bool]]]
SUBJECTS = {
    "record": (KINDS, lambda rng, kind: Damage(rng).make(kind), record),
    "thresholds": (
        THRESHOLD_KINDS,
        lambda rng, kind: ThresholdDamage(rng).make(kind),
        lambda path: thresholds_or_refused(path) is not None,
    ),
}


class TooMuch(Exception):
    """An input took too long, or too much memory."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooMuch(f"more than {SECONDS:g} s of a processor, or no end in {_HANGS:g} s")


def _used() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(read: Callable[[Path], bool], path: Path) -> bool:
    """Whether one input is read.

    Raises:
        TooMuch: it took too much.
        Exception: whatever was not foreseen.
    """
    before = _used()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, _HANGS)
    try:
        accepted = read(path)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    if _used() - before > MEGABYTES:
        raise TooMuch(f"{_used() - before:.0f} MB more")
    return accepted


def run(inputs: range, seed: int, keep: Path) -> int:
    """All inputs, the kinds in turn; the exit code."""
    turns = [(subject, kind) for subject, (kinds, *_) in SUBJECTS.items() for kind in kinds]
    good: Counter[tuple[str, str]] = Counter()
    seconds: Counter[tuple[str, str]] = Counter()
    made: Counter[tuple[str, str]] = Counter()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit-fuzz.json"
        for number in inputs:
            turn = turns[number % len(turns)]
            _, make, reader = SUBJECTS[turn[0]]
            path.write_bytes(make(Random(f"{seed}-{number}"), turn[1]))
            start = time.perf_counter()
            try:
                good[turn] += one(reader, path)
            except Exception as error:  # noqa: BLE001  # what is looked for
                kept = keep / f"{turn[0]}-{turn[1]}-{seed}-{number}"
                keep.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(path.read_bytes())
                traceback.print_exception(error)
                print(f"input {number} ({' '.join(turn)}) broke a reader; it is kept in {kept}")
                return 1
            made[turn] += 1
            seconds[turn] += time.perf_counter() - start
            if number % 10_000 == 0:
                gc.collect()
                print(f"{number:,} inputs, {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    print(f"{'damage':24} {'inputs':>8} {'read':>8} {'refused':>8} {'ms each':>8}")
    for turn in turns:
        print(
            f"{' '.join(turn):24} {made[turn]:8,} {good[turn]:8,} {made[turn] - good[turn]:8,} "
            f"{1000 * seconds[turn] / max(1, made[turn]):8.2f}"
        )
    whole, fine = sum(made.values()), sum(good.values())
    print(
        f"{whole:,} inputs with seed {seed} in {time.perf_counter() - begun:.0f} s: {fine:,} read "
        f"and reported, {whole - fine:,} refused in one line, none broke; {_used():.0f} MB at most"
    )
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Read damaged files until one breaks a reader.")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="go on with this input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "ffprof-fuzz")
    asked = parser.parse_args()
    signal.signal(signal.SIGPROF, _too_long)
    signal.signal(signal.SIGALRM, _too_long)
    return run(range(asked.first, asked.inputs), asked.seed, asked.keep)


if __name__ == "__main__":
    sys.exit(main())
