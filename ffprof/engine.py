"""``ffprof.estimate``: a training step's GPU memory, by the tracer or on the null device.

Both engines take the same ``build(device)``. The tracer runs it here, on tensors without memory,
and simulates the allocator; its figures are *estimated*. The null device runs it in a process of
its own, by PyTorch's own CUDA code on a GPU that is not there; its figures are *emulated*.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from ffprof.errors import NullDeviceError, UntraceableError, UsageError
from ffprof.result import Shown
from ffprof.units import format_bytes

if TYPE_CHECKING:
    from ffprof.estimation import Estimation
    from ffprof.estimator.api import Workspaces
    from ffprof.estimator.estimate import Estimate
    from ffprof.estimator.fit import Answer
    from ffprof.records.script import ScriptEstimate
    from ffprof.report.document import Document

Engine = Literal["auto", "trace", "null"]
Build = Callable[..., Callable[[], object]]


@overload
def estimate(
    build: Build,
    steps: int = 2,
    capacity_bytes: int | None = None,
    allocator: str = "default",
    *,
    workspaces: Workspaces | None = None,
    card: str | None = None,
    engine: Literal["trace"] = "trace",
    time_limit: float = 600.0,
    **sizes: int,
) -> Estimation: ...


@overload
def estimate(
    build: Build,
    steps: int = 2,
    capacity_bytes: int | None = None,
    allocator: str = "default",
    *,
    workspaces: Workspaces | None = None,
    card: str | None = None,
    engine: Literal["null"],
    time_limit: float = 600.0,
    **sizes: int,
) -> Emulation: ...


@overload
def estimate(
    build: Build,
    steps: int = 2,
    capacity_bytes: int | None = None,
    allocator: str = "default",
    *,
    workspaces: Workspaces | None = None,
    card: str | None = None,
    engine: Literal["auto"],
    time_limit: float = 600.0,
    **sizes: int,
) -> Estimation | Emulation: ...


def estimate(
    build: Build,
    steps: int = 2,
    capacity_bytes: int | None = None,
    allocator: str = "default",
    *,
    workspaces: Workspaces | None = None,
    card: str | None = None,
    engine: Engine = "trace",
    time_limit: float = 600.0,
    **sizes: int,
) -> Estimation | Emulation:
    """What a training step takes of a GPU's memory, found out without one.

    Args:
        build: called once as ``build(device)``; makes model, data and optimizer on that device and
            returns a callable without arguments that runs one training step. The null device
            calls it in another process, into which it is carried with all that it refers to.
        steps: how many are taken, at least 2: the optimizer makes its state in the first. Peaks
            are those of the last.
        capacity_bytes: what the allocator may take in all; None is without a limit for the tracer
            and, on the null device, what a process leaves of ``card``. Where that is too little,
            ``ran_out`` is true and peaks are those up to there.
        allocator: ``default``, ``expandable_segments``, or what PYTORCH_ALLOC_CONF takes.
        workspaces: which the tracer counts in the peaks. ``all``, its default: what cuBLAS keeps
            for each thread, which is known, and cuDNN's for convolutions by a fitted model
            (docs/estimator.md). ``products``: without cuDNN's. ``none``: tensors alone. The null
            device always counts all, cuDNN's by the same model.
        card: the name of a profiled card (``ffprof cards``). It decides workspaces, the scratch of
            kernels, what the process takes beside them, and what ``fit`` asks about. None is a
            card of compute capability 8.6 with 24 multiprocessors.
        engine: ``trace``; ``null``: the null device (docs/null_device.md); ``auto``: the tracer,
            and the null device for what the tracer refuses.
        time_limit: of the process on the null device, in seconds.
        sizes: what ``build`` takes besides the device, such as ``batch=8, seq=512``.

    Returns:
        an ``Estimation``, which can be asked for more (the largest batch, what to change), or from
        the null device an ``Emulation``.

    Raises:
        UsageError: no such card, an argument that cannot be meant, or the step itself failed on
            the null device; the error names the line.
        UntraceableError: the tracer, if it was asked for, cannot follow the step.
        NullDeviceError: the null device, if it was asked for, cannot be had here.
    """
    if engine not in get_args(Engine):
        known = ", ".join(get_args(Engine))
        raise UsageError(f"engine={engine!r}", f"write one of {known}")
    from ffprof.estimation import Estimation, fresh_of
    from ffprof.estimator.api import check_arguments
    from ffprof.estimator.api import estimate as traced
    from ffprof.workload.signature import check_sizes

    check_arguments(build, steps, capacity_bytes, allocator, card)
    if not isinstance(time_limit, (int, float)) or isinstance(time_limit, bool):
        raise UsageError(f"time_limit={time_limit!r}", "give a number of seconds")
    check_sizes(build, sizes)
    sized = functools.partial(build, **sizes) if sizes else build
    asked = _Emulator(sized, steps, capacity_bytes, allocator, card, time_limit)
    if engine == "null":
        if workspaces not in (None, "all"):
            raise UsageError(
                f"workspaces={workspaces!r}: the null device counts all", "leave it out, or trace"
            )
        return asked.emulate()
    if engine == "auto":
        asked.pack()

    fresh = fresh_of(build)

    def again(one: Build, card: str | None = card) -> Estimate:
        return traced(
            one,
            steps,
            capacity_bytes,
            allocator,
            workspaces="all" if workspaces is None else workspaces,
            card=card,
        )

    try:
        return Estimation.of(again(sized), build, sizes, again, fresh)
    except UntraceableError as error:
        if engine == "trace":
            raise
        refusal = error
    try:
        return asked.emulate(refusal.problem)
    except NullDeviceError as error:
        raise UntraceableError(
            f"the tracer refuses it: {refusal.problem}; and there is no null device here: "
            f"{error.problem}",
            error.fix,
        ) from error


@dataclass
class _Emulator:
    """What is asked of the null device; ``build`` is packed before the tracer runs it.

    The tracer moves what ``build`` refers to, such as a model that was made outside, to a device
    that only it knows.
    """

    build: Build
    steps: int
    capacity_bytes: int | None
    allocator: str
    card: str | None
    time_limit: float
    _packed: bytes | UsageError | None = None

    def pack(self) -> None:
        """Keep ``build`` as it is now, or why it cannot be kept."""
        from ffprof.experiments.script.step import pickled

        try:
            self._packed = pickled(self.build)
        except UsageError as error:
            self._packed = error

    def emulate(self, refusal: str = "") -> Emulation:
        """Take the steps; ``refusal`` is why the tracer does not.

        Raises:
            UsageError: ``build`` cannot be carried there, or the step does not get through.
            NullDeviceError: there is no null device here.
        """
        from ffprof.experiments.script.request import (
            ScriptRequest,
            target_of,
            target_without_card,
        )
        from ffprof.experiments.script.step import emulate_step, name_of

        if self.steps < 2:
            raise UsageError(
                f"steps={self.steps}", "take at least 2: the optimizer makes its state in the first"
            )
        request = ScriptRequest(
            command=("step",),
            shown=(name_of(self.build),),
            card=self.card,
            allocator=self.allocator,
            steps=self.steps,
            time_limit=self.time_limit,
            capacity=self.capacity_bytes,
        )
        if self._packed is None:
            self.pack()
        if isinstance(self._packed, UsageError):
            told = f"the tracer refuses it: {refusal}; and " if refusal else ""
            raise UsageError(f"{told}{self._packed.problem}", self._packed.fix)
        assert self._packed is not None
        target = target_of(request) if self.card else target_without_card(self.allocator)
        found = emulate_step(self._packed, request, target)
        if found.status in ("failed", "incomplete"):
            how = "failed" if found.status == "failed" else "did not get through"
            raise UsageError(
                f"the step {how} on the null device: {found.message}{_where(found)}",
                f"and the tracer refuses it: {refusal}" if refusal else "",
            )
        return Emulation(record=found, refusal=refusal)


def _where(found: ScriptEstimate) -> str:
    place = found.failed_at
    return f", at {place.file}:{place.line}: {place.text}" if place and place.file else ""


# What an ``Estimation`` has, and an ``Emulation`` has not.
_OF_TRACES = (
    "advice", "at", "breakdown", "largest", "plot", "report", "row", "snapshot", "sweep",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EmulatedFit:
    """Whether a step fits a budget of so many bytes, by what it took on the null device."""

    answer: Answer
    budget_bytes: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Emulation(Shown):
    """A step that PyTorch's own CUDA code ran on a GPU that is not there; all sizes are bytes.

    Peaks without a prefix are those of the last step, ``cold`` ones those before it. ``record``
    has everything, in the form of a script's. ``refusal`` is why the tracer did not take it, if
    it was asked first.
    """

    record: ScriptEstimate = field(repr=False)
    refusal: str = ""
    evidence: Literal["emulated"] = "emulated"
    engine: Literal["null"] = "null"

    def __str__(self) -> str:
        low, high = self.process_range_bytes
        told = (
            f"emulated peaks: {format_bytes(self.allocated_peak_bytes)} allocated, "
            f"{format_bytes(self.reserved_peak_bytes)} reserved, "
            f"{format_bytes(low)} to {format_bytes(high)} of the process"
        )
        if self.ran_out:
            told += f"; {self.record.message}"
        if self.record.conditional:
            told += "; conditional: the step read values, which are zeros here"
        return told

    def __repr__(self) -> str:
        return f"<ffprof: {self}>"

    def __getattr__(self, name: str) -> Any:
        told = ""
        if name in _OF_TRACES:
            told = "; it is of traced steps, and this one ran on the null device: see record"
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{told}")

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>{super()._repr_html_()}"

    def documents(self) -> Sequence[Document]:
        """The report, as of a script."""
        from ffprof.report.estimate.script import script_document

        return (script_document(self.record, 100),)

    @property
    def allocated_peak_bytes(self) -> int:
        """Of tensors and workspaces, in the last step, or before if memory ran out there."""
        found = self.record
        return (found.allocated_peak_bytes or found.cold_allocated_peak_bytes) or 0

    @property
    def reserved_peak_bytes(self) -> int:
        """What the allocator holds of the GPU for them."""
        found = self.record
        return (found.reserved_peak_bytes or found.cold_reserved_peak_bytes) or 0

    @property
    def cold_allocated_peak_bytes(self) -> int:
        """Before the last step."""
        return self.record.cold_allocated_peak_bytes or 0

    @property
    def cold_reserved_peak_bytes(self) -> int:
        """Before the last step."""
        return self.record.cold_reserved_peak_bytes or 0

    @property
    def process_range_bytes(self) -> tuple[int, int]:
        """(least, most) that nvidia-smi would show of the process at its peak."""
        low, _, high = self.record.overhead_bytes
        return self.record.process_range_bytes or (low, high)

    @property
    def ran_out(self) -> bool:
        """Whether memory did not suffice."""
        return self.record.ran_out is not None

    @property
    def by_category(self) -> Mapping[str, int]:
        """What is held at the peak, as it was requested; empty if it is not known."""
        return {} if self.record.peak is None else dict(self.record.peak.by_category)

    def fit(self, budget: int | str | None = None) -> EmulatedFit:
        """Whether it fits a card: by what it offers CUDA in all, in bytes, or by its name.

        None is the card that it ran on, at whose size it was tried. Of another budget peaks
        alone decide, and between what is allocated and what is reserved it is too close to call:
        then emulate again with ``card=``.

        Raises:
            UsageError: no such card, or none is named; or memory was short in the emulation, so
                that its peaks say nothing of more.
        """
        from ffprof.experiments.script.outcome import fit_of_peaks
        from ffprof.hardware.cards import find_card

        found = self.record
        if budget is None and found.fit is not None:
            return EmulatedFit(answer=found.fit, budget_bytes=found.budget_bytes)
        if budget is None and found.card:  # under another limit than the card's
            budget = found.budget_bytes
        if not isinstance(budget, (int, str)) or isinstance(budget, bool):
            raise UsageError(f"a budget of {budget!r}", "give bytes, or the name of a card")
        size = find_card(budget).cuda_total_bytes if isinstance(budget, str) else budget
        if self.ran_out or found.alloc_retries or found.cold_alloc_retries:
            raise UsageError(
                "memory was short in the emulation, so its peaks say nothing of other budgets",
                "emulate again with card=",
            )
        most = max(self.reserved_peak_bytes, self.cold_reserved_peak_bytes)
        least = max(self.allocated_peak_bytes, self.cold_allocated_peak_bytes)
        return EmulatedFit(
            answer=fit_of_peaks(least, most, size, found.overhead_bytes), budget_bytes=size
        )
