"""What is known of a traced step: peaks, what they are made of, whether it fits, its FLOPs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from typing import Literal

from ffprof.errors import UsageError
from ffprof.estimator.allocator import AllocatorConfig
from ffprof.estimator.breakdown import Breakdown, break_down
from ffprof.estimator.cuda.workspaces import WorkspaceModel, resolve, trial_bytes
from ffprof.estimator.fit import Fit, fit, sure_capacity
from ffprof.estimator.overhead import Overhead
from ffprof.estimator.replay import Replay, replay
from ffprof.estimator.stream import Operator, Stream
from ffprof.hardware.cards import find_card
from ffprof.hardware.profile import Card
from ffprof.units import format_bytes


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimated step; all sizes are bytes, as ``torch.cuda.memory_stats`` counts them.

    Peaks without a prefix are those of the last traced step, when the optimizer has its state;
    ``cold`` ones are those of the build and the steps before it. ``evidence`` is always
    ``estimated``, ``engine`` the one that found it. ``card`` is the one that was named. ``stream``
    holds every allocation with its workspace, ``traced`` without.
    """

    stream: Stream = field(repr=False)
    traced: Stream = field(repr=False)
    workspaces: WorkspaceModel
    steps: int
    config: AllocatorConfig
    overhead: Overhead
    capacity_bytes: int | None
    replay: Replay = field(repr=False)
    card: Card | None = None
    evidence: Literal["estimated"] = "estimated"
    engine: Literal["trace"] = "trace"

    def __str__(self) -> str:
        low, high = self.process_range_bytes
        return (
            f"estimated peaks: {format_bytes(self.allocated_peak_bytes)} allocated, "
            f"{format_bytes(self.reserved_peak_bytes)} reserved, "
            f"{format_bytes(low)} to {format_bytes(high)} of the process; "
            f"most is allocated in {self.breakdown.place()}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>"

    @property
    def allocated_peak_bytes(self) -> int:
        """Of tensors and workspaces, in the last step."""
        return self.replay.allocated_peak_bytes

    @property
    def reserved_peak_bytes(self) -> int:
        """What the allocator holds of the GPU for them."""
        return self.replay.reserved_peak_bytes

    @property
    def cold_allocated_peak_bytes(self) -> int:
        """Before the last step."""
        return self.replay.allocated_peak_before_bytes

    @property
    def cold_reserved_peak_bytes(self) -> int:
        """Before the last step."""
        return self.replay.reserved_peak_before_bytes

    @property
    def process_range_bytes(self) -> tuple[int, int]:
        """(least, most) that nvidia-smi would show of the process at its peak."""
        most = max(self.reserved_peak_bytes, self.cold_reserved_peak_bytes)
        return most + self.overhead.low_bytes, most + self.overhead.high_bytes

    @property
    def ran_out(self) -> bool:
        """Whether ``capacity_bytes`` did not suffice."""
        return not self.replay.fits

    @cached_property
    def breakdown(self) -> Breakdown:
        """What is allocated at the peak of the last step."""
        return break_down(self.stream, self.replay.at_allocated_peak)

    @cached_property
    def expandable_reserved_peak_bytes(self) -> int:
        """What would be reserved in the last step with ``expandable_segments``."""
        config = replace(self.config, expandable_segments=True)
        return replace(self, capacity_bytes=None).under(config).reserved_peak_bytes

    def under(self, config: AllocatorConfig) -> Estimate:
        """The same step under another setting of the allocator."""
        again = replay(
            self.stream,
            config=config,
            capacity_bytes=self.capacity_bytes,
            peak_from=last_step(self.steps),
        )
        return replace(self, config=config, replay=again)

    def least_capacity_bytes(self, model: WorkspaceModel | None = None) -> int:
        """The smallest limit of the allocator within which it runs, to a thousandth.

        Less than is reserved without a limit, as far as freeing what is cached helps.
        """
        stream = self.stream if model is None else resolve(self.traced, model)
        free = replay(stream, config=self.config, peak_from=last_step(self.steps))
        low = max(free.allocated_peak_bytes, free.allocated_peak_before_bytes) - 1
        high = max(free.reserved_peak_bytes, free.reserved_peak_before_bytes)
        while high - low > high // 1000:
            middle = (low + high) // 2
            if replay(stream, config=self.config, capacity_bytes=middle).fits:
                high = middle
            else:
                low = middle
        return high

    def fit(self, budget: int | str | None = None) -> Fit:
        """Whether it fits a card: by what it offers CUDA in all, in bytes, or by its name.

        None is the card that the estimate is for. cuDNN's workspaces count here even where the
        peaks leave them out, unless no workspace is counted at all. Of another card than that
        one, only the size counts: estimate again with ``card=`` for its other figures.

        Raises:
            UsageError: no such card, or none is named.
        """
        if budget is None and self.card is not None:
            budget = self.card.cuda_total_bytes
        if not isinstance(budget, (int, str)):
            raise UsageError(f"a budget of {budget!r}", "give bytes, or the name of a card")
        size = find_card(budget).cuda_total_bytes if isinstance(budget, str) else budget
        model = self._model_for_fit()
        return fit(
            self.stream if model == self.workspaces else resolve(self.traced, model),
            size,
            self.overhead,
            config=self.config,
            peak_from=last_step(self.steps),
            trial_bytes=trial_bytes(self.traced, model),
        )

    def load(self, budget_bytes: int) -> float | None:
        """The least that it needs, against what a budget has for certain: 1 at the border."""
        model = self._model_for_fit()
        room = sure_capacity(budget_bytes, self.overhead, trial_bytes(self.traced, model))
        return self.least_capacity_bytes(model) / room if room > 0 else None

    def _model_for_fit(self) -> WorkspaceModel:
        model = self.workspaces
        return replace(model, convolutions=True) if model.products else model

    @property
    def operators(self) -> list[Operator]:
        """Those of the last step."""
        begins = last_step(self.steps)
        place = next(p for p, name in self.stream.operator_marks if name == begins)
        return self.stream.operators[place:]

    @property
    def flops_by_operator(self) -> dict[str, int]:
        """Floating-point operations of the last step, a multiply-add as two."""
        found: Counter[str] = Counter()
        for operator in self.operators:
            if operator.flops:
                found[operator.name] += operator.flops * operator.times
        return dict(found.most_common())


def last_step(steps: int) -> str:
    """The mark from which steady peaks count."""
    return f"step {steps - 1} begins"


def from_stream(
    stream: Stream,
    *,
    steps: int,
    overhead: Overhead,
    config: AllocatorConfig | None = None,
    workspaces: WorkspaceModel | None = None,
    capacity_bytes: int | None = None,
    card: Card | None = None,
) -> Estimate:
    """The figures of a traced stream under one setting of the allocator.

    ``workspaces`` None is the default model.

    Raises:
        UsageError: ``capacity_bytes`` is not positive.
    """
    if capacity_bytes is not None and capacity_bytes <= 0:
        raise UsageError(f"a capacity of {capacity_bytes} bytes", "give a positive number of bytes")
    config = config or AllocatorConfig()
    model = WorkspaceModel() if workspaces is None else workspaces
    resolved = resolve(stream, model)
    return Estimate(
        stream=resolved,
        traced=stream,
        workspaces=model,
        steps=steps,
        config=config,
        overhead=overhead,
        capacity_bytes=capacity_bytes,
        card=card,
        replay=replay(
            resolved, config=config, capacity_bytes=capacity_bytes, peak_from=last_step(steps)
        ),
    )
