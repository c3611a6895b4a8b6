"""Does a step fit a card? Decided by replaying it with what the card leaves as the capacity.

What the allocator may take is the card's total less what the process takes in addition to it,
which is a range. And the estimate has an error. So there are three answers: it fits even if the
process takes most, the whole is larger by the margin, and autotuning tries what it may; it does
not fit even if the process takes least and the whole is smaller by the margin; else it is too
close to call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ffprof.estimator.allocator import AllocatorConfig
from ffprof.estimator.overhead import Overhead
from ffprof.estimator.replay import Replay, replay
from ffprof.estimator.stream import Stream

Answer = Literal["fits", "too close to call", "does not fit"]
# How far the whole process may be above and below the estimate: the 90th and 5th percentile of
# what the public rows measured (docs/estimator.md), fitted on all of them.
ABOVE, BELOW = 0.068, 0.021
_NEAR = (0.0, 0.01, 0.02, 0.03)  # parts of a capacity


def sure_capacity(budget_bytes: int, overhead: Overhead, trial_bytes: int = 0) -> float:
    """What the allocator has of a budget for certain: within it, a step fits."""
    # The larger of the two allowances, as in benchmarks/accuracy/split_half.py.
    least = min(budget_bytes / (1 + ABOVE), budget_bytes - trial_bytes) - overhead.high_bytes
    return least * (1 - _NEAR[-1])


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The answer for one budget.

    ``capacity_bytes`` is what the allocator likely has; ``retries`` are the times that cached
    memory is freed and requested again in one step there, at a cost in speed. ``replay`` is
    the step in that capacity.
    """

    answer: Answer
    budget_bytes: int
    capacity_bytes: int
    retries: int
    replay: Replay = field(repr=False)


def fit(
    stream: Stream,
    budget_bytes: int,
    overhead: Overhead,
    *,
    config: AllocatorConfig | None = None,
    peak_from: str | None = None,
    trial_bytes: int = 0,
) -> Fit:
    """Whether the stream fits ``budget_bytes``, what CUDA offers on a card in all.

    ``trial_bytes`` is what autotuning might take for a moment.
    """

    def within(capacity: float) -> Replay:
        return replay(
            stream, config=config, capacity_bytes=max(0, int(capacity)), peak_from=peak_from
        )

    capacity = max(0, budget_bytes - overhead.likely_bytes)
    likely = within(capacity)
    answer: Answer = "too close to call"
    least = sure_capacity(budget_bytes, overhead, trial_bytes) / (1 - _NEAR[-1])
    most = budget_bytes / (1 - BELOW) - overhead.low_bytes
    # A larger capacity is not always better, because blocks fall otherwise: near ones must agree.
    if all(within(least * (1 - part)).fits for part in _NEAR):
        answer = "fits"
    elif not any(within(most * (1 + part)).fits for part in _NEAR):
        answer = "does not fit"
    return Fit(
        answer=answer,
        budget_bytes=budget_bytes,
        capacity_bytes=capacity,
        retries=likely.retries_since_mark,
        replay=likely,
    )
