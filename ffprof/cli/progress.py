"""Progress on a terminal: drawn between trials only, so that nothing runs beside what is timed."""

from __future__ import annotations

import shutil
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ffprof.experiments.request import Slot
from ffprof.records.audit import Trial
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.units import format_bytes, format_rate, format_seconds


class QuietProgress:
    """Says only what must be known: for pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def memory_starts(self, workload: str, number: int, total: int) -> None:
        """Nothing."""

    def says(self, text: str) -> None:
        """See ``Progress``."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def proof_starts(self, workload: str, number: int, total: int) -> None:
        """Nothing."""

    def trial_starts(self, slot: Slot, number: int, total: int) -> None:
        """Nothing."""

    def trial_ends(self, trial: Trial, left_seconds: float | None) -> None:
        """Nothing."""

    def ends(self) -> None:
        """Nothing."""


class TerminalProgress:
    """One line that is redrawn when a trial starts and when it ends, never in between."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._began = time.monotonic()
        self._left = ""
        self._progress.start()

    def proof_starts(self, workload: str, number: int, total: int) -> None:
        """See ``Progress``."""
        self._draw(f"checking gradients of {workload}", number, total)

    def memory_starts(self, workload: str, number: int, total: int) -> None:
        """See ``Progress``."""
        self._draw(f"memory without a limit of {workload}", number, total)

    def says(self, text: str) -> None:
        """See ``Progress``."""
        self._progress.console.print(f"  {text}", markup=False, highlight=False)

    def trial_starts(self, slot: Slot, number: int, total: int) -> None:
        """See ``Progress``."""
        self._draw(f"round {slot.round + 1} {slot.workload}", number, total)

    def trial_ends(self, trial: Trial, left_seconds: float | None) -> None:
        """See ``Progress``."""
        if left_seconds is not None:
            self._left = f", about {format_seconds(left_seconds)} left"
        speed = trial.throughput.images_per_second if trial.throughput else None
        told = f"{format_rate(speed)} img/s" if speed else trial.message
        head = f"round {trial.round + 1}  {trial.workload:<24}{trial.outcome:<9}"
        if trial.evidence == "estimated":
            held = format_bytes(trial.memory.allocated_peak_bytes)
            answer = trial.memory.fit or trial.outcome
            head, told = f"estimated  {trial.workload:<24}{answer:<19}", held
        self._progress.console.print(
            f"  {head}{told}",
            markup=False,
            highlight=False,
            overflow="ellipsis",
            no_wrap=True,
        )

    def ends(self) -> None:
        """See ``Progress``."""
        self._progress.stop()
        self._progress.console.print()

    def _draw(self, text: str, number: int, total: int) -> None:
        gone = format_seconds(time.monotonic() - self._began)
        description = f"{text}, {gone}{self._left}"
        self._progress.update(self._task, description=description, completed=number, total=total)
        self._progress.refresh()


def progress_for(console: Console) -> QuietProgress | TerminalProgress:
    """The terminal's progress if there is a terminal."""
    return TerminalProgress(console) if console.is_terminal else QuietProgress(console)


class LineProgress:
    """One line on a terminal's standard error, and nothing elsewhere."""

    def __init__(self) -> None:
        self._shown, self._head = sys.stderr.isatty(), ""

    def proposes(self, workload: str, number: int, total: int) -> None:
        """See ``CapacityProgress``."""
        self._head = f"{number + 1} of {total}: {workload}"
        self._draw(f"{self._head}: estimating")

    def tries(self, workload: str, size: int, low: int, high: int | None) -> None:
        """See ``CapacityProgress``."""
        known = [f"{low:,} fits"] if low else []
        known += [f"{high:,} does not"] if high is not None else []
        self._draw(f"{self._head}: running {size:,}{''.join(f', {k}' for k in known)}")

    def ends(self) -> None:
        """See ``CapacityProgress``."""
        self._draw("")

    def _draw(self, text: str) -> None:
        if self._shown:
            room = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{text[:room]}", end="", file=sys.stderr, flush=True)


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
