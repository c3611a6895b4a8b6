"""Progress of a frontier on a terminal: lines between trials, nothing while one runs."""

from __future__ import annotations

import time

from rich.console import Console

from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.trial import Trial
from ffprof.units import format_rate, format_seconds


class QuietTold:
    """Says nothing: for pipes and logs."""

    def guessed(self, number: int, total: int) -> None:
        """Nothing."""

    def starts(self, point: Point, round: int, record: FrontierRecord) -> None:
        """Nothing."""

    def ends(self, point: Point, trial: Trial) -> None:
        """Nothing."""

    def done(self) -> None:
        """Nothing."""


class TerminalTold:
    """One line a trial, and one that is overwritten with what is going on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def guessed(self, number: int, total: int) -> None:
        """See ``Told``."""
        self._now(f"estimated {number} of {total} points")

    def starts(self, point: Point, round: int, record: FrontierRecord) -> None:
        """See ``Told``."""
        waiting = sum(p.standing == "not run" for p in record.points)
        gone = format_seconds(time.monotonic() - self._began)
        self._now(f"round {round + 1} {point.id}, {gone}; {waiting} points wait to be measured")

    def ends(self, point: Point, trial: Trial) -> None:
        """See ``Told``."""
        speed = trial.throughput.images_per_second if trial.throughput else None
        told = f"{format_rate(speed)} img/s" if speed else trial.message
        line = f"  round {trial.round + 1}  {point.id:<30} {trial.outcome:<9}{told}"
        self.done()
        self._console.print(
            line, markup=False, highlight=False, overflow="ellipsis", no_wrap=True, soft_wrap=False
        )

    def done(self) -> None:
        """See ``Told``."""
        self._write("\r\033[K")

    def _now(self, text: str) -> None:
        # One column is left free: a terminal wraps when the last one is written to.
        self._write(f"\r\033[K{text[: self._console.width - 1]}")

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()


def told_to(console: Console) -> QuietTold | TerminalTold:
    """The terminal's progress if there is a terminal."""
    return TerminalTold(console) if console.is_terminal else QuietTold()
