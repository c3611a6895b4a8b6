"""What ``ffprof.estimate`` gives of a step that was traced: figures, and more that can be asked.

The step can be asked for again, with other sizes or with changes, as ``ffprof estimate`` does for
a workload file: the largest size that fits, how memory grows, what to change.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch

from ffprof.errors import FfprofError, UsageError, one_line
from ffprof.estimator.estimate import Estimate
from ffprof.estimator.peaks import figures_of
from ffprof.estimator.sizes import CAP
from ffprof.estimator.snapshot import snapshot, write_snapshot
from ffprof.estimator.tracing.trace import muted
from ffprof.estimator.worker import border_of
from ffprof.experiments.capacity.probe import proposed
from ffprof.experiments.estimate import growth_of
from ffprof.experiments.script.step import pickled
from ffprof.findings import WIDTH, AdviceResult, Largest, Sweep
from ffprof.hardware.cards import find_card
from ffprof.records.estimate import PeakRow
from ffprof.result import Shown
from ffprof.units import format_bytes
from ffprof.workload.signature import check_sizes, default_sizes, names_of, refers_to

if TYPE_CHECKING:
    from ffprof.report.document import Document
    from ffprof.report.estimate.table import StepHeading

Build = Callable[..., Callable[[], object]]
# What a step may raise at a size that it does not take.
_FAILURES = (
    FfprofError, RuntimeError, AssertionError, AttributeError, TypeError, ValueError, LookupError,
)  # fmt: skip


def fresh_of(build: Build) -> Callable[[], Build]:
    """``build`` for every further trace: a copy, if it refers to modules made outside of it.

    A trace leaves those without memory of their own. So this is called before the first.
    """
    if not any(isinstance(one, torch.nn.Module) for one in refers_to(build)):
        return lambda: build
    try:
        packed = pickled(build)
    except UsageError as error:
        problem = error.problem

        def refused() -> Build:
            raise UsageError(
                f"its model is made outside of build, and cannot be copied: {problem}",
                "make it inside of build(device)",
            )

        return refused
    return lambda: pickle.loads(packed)


@dataclass(frozen=True, kw_only=True)
class _Own:
    """What a step of the user's own is called in records."""

    id: str
    method: str
    family: str = "own"


@dataclass(frozen=True, kw_only=True, repr=False)
class Estimation(Shown, Estimate):
    """A step that was traced; all sizes are bytes (see ``Estimate`` for its figures).

    ``build`` and ``sizes`` are those of the call. Printed, it is a few lines; ``report()`` is all
    that ``ffprof estimate`` prints. ``again`` estimates another build in the
    same way; ``fresh`` gives ``build`` for it.
    """

    build: Build
    sizes: Mapping[str, int] = field(default_factory=dict)
    again: Callable[..., Estimate]
    fresh: Callable[[], Build]

    @classmethod
    def of(
        cls,
        found: Estimate,
        build: Build,
        sizes: Mapping[str, int],
        again: Callable[..., Estimate],
        fresh: Callable[[], Build],
    ) -> Estimation:
        """An estimate with what it was asked about."""
        known = {one.name: getattr(found, one.name) for one in fields(found)}
        return cls(**known, build=build, sizes=dict(sizes), again=again, fresh=fresh)

    def __str__(self) -> str:
        low, high = map(format_bytes, self.process_range_bytes)
        lines = [
            f"{self.name}: {format_bytes(self.allocated_peak_bytes)} allocated, "
            f"{format_bytes(self.reserved_peak_bytes)} reserved, {low} to {high} of the process "
            "(estimated)"
        ]
        if self.card is not None:
            lines.append(f"{self.card.name}: {self.fit().answer}")
        if self.ran_out:
            lines.append(f"runs out of memory within {format_bytes(self.capacity_bytes or 0)}")
        lines += ["", *str(self.breakdown).splitlines(), ""]
        lines.append("report() says more, advice() what to change, largest() and sweep() of sizes")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<ffprof: {str(self).splitlines()[0]}>"

    @property
    def name(self) -> str:
        """What the step is called: the function that builds it."""
        inner = getattr(self.build, "func", self.build)  # of a partial function
        return str(getattr(inner, "__name__", type(inner).__name__))[:80]

    def documents(self) -> Sequence[Document]:
        """The report."""
        from ffprof.report.document import printable
        from ffprof.report.estimate.detail import peak_details
        from ffprof.report.estimate.table import peak_document

        row = self.row()
        document = peak_document(self._heading(), [row])
        blocks = (*document.blocks, *peak_details(row, WIDTH))
        return (printable(replace(document, blocks=blocks)),)

    def report(self) -> str:
        """All that ``ffprof estimate`` prints of a step."""
        from ffprof.report.exporters.terminal import text_of

        return "\n".join(text_of(one, WIDTH) for one in self.documents())

    def row(self) -> PeakRow:
        """The figures as the record that ``ffprof estimate --format json`` prints."""
        overhead = self.overhead
        budget = None if self.card is None else self.card.cuda_total_bytes
        batch = self.size("batch") or 0
        return PeakRow(
            workload=self.name,
            method=self.name,
            schedule="the user's own step",
            family="own",
            batch=batch,
            micro_batch=batch,
            image_size=self.size("image_size") or 0,
            backbone="own",
            card=None if self.card is None else self.card.name,
            budget_bytes=budget or 0,
            overhead_bytes=(overhead.low_bytes, overhead.likely_bytes, overhead.high_bytes),
            allocator_conf=self.config.text(),
            workspaces=self.workspaces.products,
            **figures_of(self, None if budget is None else self.fit(budget)),
        )

    def size(self, name: str) -> int | None:
        """A size that the step was built with; None if it has none of that name."""
        return {**default_sizes(self.build), **self.sizes}.get(name)

    def snapshot(self, path: str | Path) -> None:
        """Write the allocations of the step for pytorch.org/memory_viz.

        Raises:
            StoreError: the file cannot be written.
        """
        write_snapshot(Path(path), snapshot(self.stream, config=self.config))

    def at(self, **sizes: int) -> Estimation:
        """The same step with other sizes.

        Raises:
            UsageError: its ``build`` takes no such size, or the step cannot be traced so.
        """
        asked = {**self.sizes, **sizes}
        check_sizes(self.build, asked)
        with muted():
            build = self.fresh()
            found = self.again(lambda device: build(device, **asked))
        return Estimation.of(found, self.build, asked, self.again, self.fresh)

    def on(self, card: str) -> Estimation:
        """The same step on another card.

        Raises:
            UsageError: no such card.
        """
        with muted():
            build = self.fresh()
            found = self.again(lambda device: build(device, **self.sizes), card=card)
        again = functools.partial(self.again, card=card)
        return Estimation.of(found, self.build, self.sizes, again, self.fresh)

    def largest(self, size: str = "batch", card: str | None = None) -> Largest:
        """The largest value of a size that is estimated to fit; the next one does not.

        Args:
            size: an argument of ``build``.
            card: whose memory counts; by default that of the estimate.

        Raises:
            UsageError: no such size or card, or the step cannot be traced at any size.
        """
        if self._is_another(card):
            return self.on(card).largest(size)
        budget = self._budget()
        start = self.size(size)
        if start is None:
            check_sizes(self.build, {size: 1})
        first = start or 1

        def row(n: int) -> tuple[PeakRow, float | None]:
            try:
                found = self if n == start else self.at(**{size: n})
            except _FAILURES as error:
                if n == first:
                    raise
                return self._refused(error), None
            return found.row(), found.load(budget)

        seen = border_of(row, start=first, cap=max(CAP, 16 * first))
        found = proposed(_Own(id=self.name, method=self.name), size, seen)
        return Largest(capacity=found, heading=self._heading())

    def sweep(self, **values: Sequence[int]) -> Sweep:
        """How memory grows with one size, such as ``sweep(batch=[8, 16, 32])``.

        Raises:
            UsageError: it is not one size with at least two values.
        """
        if len(values) != 1:
            raise UsageError("sweep is of one size", "such as sweep(batch=[8, 16, 32])")
        ((size, asked),) = values.items()
        each = sorted(set(asked))
        if len(each) < 2:
            raise UsageError(f"{size}={list(asked)!r}", "give at least two values that differ")
        check_sizes(self.build, {size: each[0]})
        rows = []
        for value in each:
            try:
                rows.append(self.at(**{size: value}).row())
            except _FAILURES as error:
                rows.append(self._refused(error))
        growth = growth_of(_Own(id=self.name, method=self.name), size, tuple(each), rows)
        return Sweep(growth=growth, heading=self._heading())

    def plot(self, path: str | Path, /, **values: Sequence[int]) -> None:
        """Draw a sweep into a .png, .svg or .pdf file.

        Raises:
            UsageError: as ``sweep``.
            StoreError: the file cannot be written.
        """
        self.sweep(**values).plot(path)

    def advice(self, card: str | None = None) -> AdviceResult:
        """What to change so that it takes less; every change is tried on the step itself.

        Args:
            card: whose memory and speed count; by default that of the estimate.

        Raises:
            UsageError: no such card, or none is named.
        """
        from ffprof.estimator.advice.rank import ranked
        from ffprof.estimator.advice.search import Question, advise

        if self._is_another(card):
            return self.on(card).advice()
        batch = self.size("batch") if "batch" in names_of(self.build)[1:] else None
        budget = self._budget()

        def built(sizes: Mapping[str, int]) -> Callable[[Any], Callable[[], object]]:
            return lambda device: self.fresh()(device, **sizes)

        question = Question(
            build=built(self.sizes),
            estimate=self.again,
            budget_bytes=budget,
            card=self.card,
            tf32=torch.backends.cuda.matmul.allow_tf32,
            batch=batch,
            smaller=lambda parts: built({**self.sizes, "batch": (batch or 0) // parts}),
        )
        with muted():
            tried = advise(question)
        found = ranked(
            tried,
            workload=self.name,
            card=None if self.card is None else self.card.name,
            budget_bytes=budget,
        )
        return AdviceResult(advice=found, heading=self._heading())

    def _is_another(self, card: str | None) -> TypeGuard[str]:
        if card is None:
            return False
        self._check_unlimited()
        return find_card(card) != self.card

    def _check_unlimited(self) -> None:
        if self.capacity_bytes is not None:
            raise UsageError("it was estimated under a limit", "leave out capacity_bytes")

    def _budget(self) -> int:
        self._check_unlimited()
        if self.card is None:
            raise UsageError("no card is named", "say which: card='RTX 3070'")
        return self.card.cuda_total_bytes

    def _refused(self, error: Exception) -> PeakRow:
        problem = error.problem if isinstance(error, FfprofError) else str(error)
        told = one_line(problem)[:300] or type(error).__name__
        nothing = dict.fromkeys(("memory", "fit", "peak", "activation_peak_bytes"))
        return self.row().model_copy(update={"outcome": "refused", "message": told, **nothing})

    def _heading(self) -> StepHeading:
        from ffprof.report.estimate.table import StepHeading

        low, likely, high = map(
            format_bytes,
            (self.overhead.low_bytes, self.overhead.likely_bytes, self.overhead.high_bytes),
        )
        offers = ""
        if self.card is not None:
            total = format_bytes(self.card.cuda_total_bytes)
            offers = f"{self.card.name}: CUDA offers {total}; "
        sizes = ", ".join(f"{name} {value}" for name, value in self.sizes.items())
        return StepHeading(
            subject=self.name,
            told=(
                "the user's own: network, data, batch, precision and optimizer",
                *((sizes,) if sizes else ()),
                f"{offers}context and libraries add {low} to {high}, likely {likely}",
                f"nothing was run: traced with torch {torch.__version__}",
            ),
        )
