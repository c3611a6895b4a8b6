"""The speeds of a record, rows by rounds as logarithms, and their ratios with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from ffprof.analysis.statistics.intervals import RatioInterval, paired_intervals, ratio_of
from ffprof.analysis.statistics.looks import LOOKS, error_of, look_of, next_look
from ffprof.analysis.statistics.noise import noise_of
from ffprof.analysis.statistics.power import known_freedom, smallest_change
from ffprof.analysis.statistics.resampling import second_opinion
from ffprof.analysis.summary import Row, rate
from ffprof.records.audit import Record, SecondOpinion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Logarithms of images per second, by row and round; every row has every round.

    ``floors`` are variances between processes of a row that a calibration found on this machine.
    """

    rows: tuple[str, ...]
    logs: tuple[tuple[float, ...], ...]
    floors: tuple[float, ...]

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return len(self.logs[0]) if self.logs else 0

    def array(self) -> NDArray[np.float64]:
        """As an array of rows by rounds."""
        import numpy as np

        return np.array(self.logs, dtype=float)

    def of(self, rows: Sequence[str]) -> Rates:
        """These rows only, in this order."""
        places = [self.rows.index(row) for row in rows]
        return Rates(
            rows=tuple(rows),
            logs=tuple(self.logs[at] for at in places),
            floors=tuple(self.floors[at] for at in places),
        )


def rates_of(record: Record, rows: Sequence[Row]) -> Rates:
    """The rounds that all of ``rows`` have, as far as the last look that they reach.

    Rounds between two looks do not count before the next one is reached, and those after the last
    never: whoever looked after every round would be wrong more often than is stated.
    """
    names = [row.workload for row in rows]
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    for trial in record.trials:
        if trial.workload in found and trial.outcome == "ok" and trial.throughput:
            found[trial.workload][trial.round] = math.log(rate(trial))
    common = sorted(set.intersection(*(set(of) for of in found.values()))) if found else []
    look = look_of(len(common))
    if look is not None:
        common = common[:look]
    return Rates(
        rows=tuple(names),
        logs=tuple(tuple(found[n][r] for r in common) for n in names),
        floors=tuple(record.noise.get(n, 0.0) ** 2 for n in names),
    )


class Speeds:
    """The speeds of all rows that may be compared; what one knows of noise serves the others.

    Args:
        record: an audit.
        rows: all of its rows.
        claims: how many ratios are judged together.
    """

    def __init__(self, record: Record, rows: Sequence[Row], claims: int) -> None:
        self._record, self._claims = record, max(1, claims)
        self._together = rates_of(record, [r for r in rows if r.usable and not r.disturbed])

    def ratio(self, challenger: Row, baseline: Row) -> RatioInterval | None:
        """Challenger / baseline, paired by round; None if no round has both.

        Below the first look it is the median of the rounds' ratios, which one disturbed trial does
        not move far, without an interval; from there on their geometric mean.
        """
        rates = self._rates(challenger, baseline)
        if not rates.rounds:
            return None
        logs = _ratios(rates, challenger, baseline)
        if look_of(len(logs)) is None:
            return RatioInterval(ratio=_middle(logs), low=None, high=None, pairs=len(logs))
        pair = (rates.rows.index(challenger.workload), rates.rows.index(baseline.workload))
        found = paired_intervals(rates.array(), [pair], error_of(self._claims), rates.floors)
        middle, half = float(found.middle[0]), float(found.half[0])
        return RatioInterval(
            ratio=ratio_of(middle),
            low=ratio_of(middle - half),
            high=ratio_of(middle + half),
            pairs=len(logs),
        )

    def middle(self, challenger: Row, baseline: Row) -> float | None:
        """The ratio alone, as ``ratio`` has it."""
        rates = self._rates(challenger, baseline)
        return _middle(_ratios(rates, challenger, baseline)) if rates.rounds else None

    def second_opinion(self, challenger: Row, baseline: Row) -> SecondOpinion | None:
        """On the same rounds; None below the first look."""
        rates = self._rates(challenger, baseline)
        logs = _ratios(rates, challenger, baseline)
        return None if look_of(len(logs)) is None else second_opinion(logs)

    def next_look(self, challenger: Row, baseline: Row) -> tuple[int, float]:
        """The rounds of the next look, and the least difference that it finds in 19 of 20 cases.

        By the noise of the rounds so far; the last look again if it is behind.
        """
        rates = self._rates(challenger, baseline)
        rounds = next_look(rates.rounds) or LOOKS[-1]
        noises = [
            noise
            for name, noise in zip(rates.rows, noise_of(rates.logs), strict=True)
            if name in (challenger.workload, baseline.workload)
        ]
        sd = math.sqrt(sum(noise.sd**2 for noise in noises) / len(noises))
        freedom = known_freedom(len(rates.rows), rounds, alone=1.0)
        return rounds, smallest_change(sd, rounds, self._claims, freedom)

    def _rates(self, *rows: Row) -> Rates:
        together = self._together
        if all(row.workload in together.rows for row in rows):
            return together
        return rates_of(self._record, rows)


def _middle(logs: Sequence[float]) -> float:
    return ratio_of(median(logs) if look_of(len(logs)) is None else fmean(logs))


def _ratios(rates: Rates, challenger: Row, baseline: Row) -> list[float]:
    ours, theirs = rates.of([challenger.workload, baseline.workload]).logs
    return [a - b for a, b in zip(ours, theirs, strict=True)]
