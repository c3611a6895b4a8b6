"""Fit on half of the models, test on the other half, many times. Plain numbers, no torch."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SPLITS = 200


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measured row with its predictions, in MiB without the constant.

    ``reserved`` has one entry for every value of the workspace parameter. ``trial`` is what
    autotuning might take for a moment.
    """

    model: str
    batch: int
    measured: float
    reserved: tuple[float, ...]
    trial: float


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was fitted: which workspace parameter, the constant, and the margins of a verdict.

    ``low`` and ``high`` are relative: measured / predicted - 1 of the rows fitted on.
    """

    choice: int
    constant: float
    low: float
    high: float

    def predicted(self, row: Row) -> float:
        """MiB of the process."""
        return row.reserved[self.choice] + self.constant

    def error(self, row: Row) -> float:
        """Predicted against measured, in percent."""
        return 100 * (self.predicted(row) - row.measured) / row.measured

    def verdict(self, row: Row, budget: float) -> str:
        """Whether it fits a budget in MiB; what autotuning might take counts against it."""
        most = max(self.predicted(row) * (1 + self.high), self.predicted(row) + row.trial)
        if most <= budget:
            return "fits"
        if self.predicted(row) * (1 + self.low) > budget:
            return "does not fit"
        return "too close to call"


def quantile(values: Iterable[float], part: float) -> float:
    """Linear between neighbours."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def fit(rows: Sequence[Row], margin: tuple[float, float]) -> Fit:
    """The least sum of absolute relative errors; margins are quantiles of what is left."""
    best: tuple[float, int, float] | None = None
    for choice in range(len(rows[0].reserved)):
        constant = _constant([(r.measured - r.reserved[choice], 1 / r.measured) for r in rows])
        loss = sum(abs(r.reserved[choice] + constant - r.measured) / r.measured for r in rows)
        if best is None or loss < best[0]:
            best = loss, choice, constant
    assert best is not None
    _, choice, constant = best
    left = [r.measured / (r.reserved[choice] + constant) - 1 for r in rows]
    low, high = (quantile(left, part) for part in margin)
    return Fit(choice=choice, constant=constant, low=min(low, 0.0), high=max(high, 0.0))


def _constant(weighted: list[tuple[float, float]]) -> float:
    """The weighted median, which makes the sum of weighted absolute differences least."""
    half, seen = sum(weight for _, weight in weighted) / 2, 0.0
    for value, weight in sorted(weighted):
        seen += weight
        if seen >= half:
            return value
    raise ValueError("nothing to fit on")


def halves(rows: Sequence[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Split by model: training half, test half."""
    names = sorted({row.model for row in rows})
    random.Random(seed).shuffle(names)
    chosen = set(names[: len(names) // 2])
    return [r for r in rows if r.model in chosen], [r for r in rows if r.model not in chosen]
