"""Progress on a terminal: drawn between trials only, so that nothing runs in addition to what is
timed."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ffprof.cli.output.console import Notices
from ffprof.report.document import clean
from ffprof.units import format_seconds


class QuietProgress:
    """Says only what must be known: for pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def starts(self, text: str, number: int, total: int, left_seconds: float | None = None) -> None:
        """Nothing."""

    def ends(self, line: str, left_seconds: float | None = None) -> None:
        """Nothing."""

    def says(self, text: str) -> None:
        """See ``Progress`` of experiments."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def done(self) -> None:
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
        self._left, self._shown = "", False

    def starts(self, text: str, number: int, total: int, left_seconds: float | None = None) -> None:
        """See ``Progress`` of experiments."""
        self._forecast(left_seconds)
        if not self._shown:  # an error before anything runs is to be a line of its own
            self._progress.start()
            self._shown = True
        gone = format_seconds(time.monotonic() - self._began)
        description = f"{clean(text)}, {gone}{self._left}"
        self._progress.update(self._task, description=description, completed=number, total=total)
        self._progress.refresh()

    def ends(self, line: str, left_seconds: float | None = None) -> None:
        """See ``Progress`` of experiments."""
        self._forecast(left_seconds)
        self._progress.console.print(
            f"  {line}", markup=False, highlight=False, overflow="ellipsis", no_wrap=True,
            soft_wrap=False,
        )  # fmt: skip

    def _forecast(self, left_seconds: float | None) -> None:
        if left_seconds is not None:
            now = datetime.now()
            end = now + timedelta(seconds=left_seconds)
            when = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%d %b %H:%M}"
            self._left = f", about {format_seconds(left_seconds)} left, until {when}"

    def says(self, text: str) -> None:
        """See ``Progress`` of experiments."""
        self._progress.console.print(f"  {text}", markup=False, highlight=False, soft_wrap=False)

    def done(self) -> None:
        """See ``Progress`` of experiments."""
        if self._shown:
            self._progress.stop()
            self._progress.console.print()
            self._shown = False


def progress_for(console: Console | None = None) -> QuietProgress | TerminalProgress:
    """The terminal's progress if there is a terminal, by default on standard error."""
    console = console or Notices()
    return TerminalProgress(console) if console.is_terminal else QuietProgress(console)
