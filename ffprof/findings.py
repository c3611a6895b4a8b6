"""What an estimate of one's own step answers when it is asked more; each prints itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ffprof.errors import UsageError
from ffprof.records.estimate import Advice, AdviceLine, Growth
from ffprof.records.frontier import Capacity
from ffprof.result import Shown

if TYPE_CHECKING:
    from ffprof.report.document import Document
    from ffprof.report.estimate.table import StepHeading

WIDTH = 100  # characters of a report


@dataclass(frozen=True, kw_only=True, repr=False)
class Largest(Shown):
    """The largest value of a size that is estimated to fit; ``int()`` gives it."""

    capacity: Capacity
    heading: StepHeading = field(repr=False)

    def __int__(self) -> int:
        return self.capacity.largest

    def documents(self) -> Sequence[Document]:
        """The report."""
        from ffprof.report.capacity import estimated_capacities

        return (estimated_capacities(self.heading, [self.capacity]),)


@dataclass(frozen=True, kw_only=True, repr=False)
class Sweep(Shown):
    """How memory grows with a size."""

    growth: Growth
    heading: StepHeading = field(repr=False)

    def documents(self) -> Sequence[Document]:
        """The report."""
        from ffprof.report.estimate.growth import growth_document

        return (growth_document(self.heading, [self.growth], WIDTH),)

    def plot(self, path: str | Path) -> None:
        """Draw it into a .png, .svg or .pdf file.

        Raises:
            UsageError: another kind of file, or matplotlib is not installed.
            StoreError: the file cannot be written.
        """
        from ffprof.experiments.question import check_file, check_plot
        from ffprof.report.exporters.plots import draw

        check_plot(Path(path), "plot")
        check_file("plot", Path(path))
        draw([self.growth], Path(path))


@dataclass(frozen=True, kw_only=True, repr=False)
class AdviceResult(Shown):
    """What to change about a step, the best first."""

    advice: Advice
    heading: StepHeading = field(repr=False)

    @property
    def lines(self) -> tuple[AdviceLine, ...]:
        """Every change that was tried."""
        return self.advice.lines

    def __str__(self) -> str:
        from ffprof.report.estimate.advice import answer

        return f"{answer(self.advice)}\n\n{super().__str__()}"

    def code(self, id: str) -> str:
        """A change made by hand, as Python.

        Raises:
            UsageError: no change of that name was tried.
        """
        from ffprof.report.estimate.advice import code_text, line_of

        line = line_of(self.advice, id)
        if line is None:
            known = ", ".join(one.id for one in self.lines)
            raise UsageError(f"no change {id!r} was tried", f"name one of {known}")
        return code_text(line)

    def documents(self) -> Sequence[Document]:
        """The report."""
        from ffprof.report.estimate.advice import advice_document

        return (advice_document([self.advice], self.heading.subject, self.heading.told),)
