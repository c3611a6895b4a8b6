"""Ratios of speeds between rows of one record, with intervals where there are rounds enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ffprof.compare.intervals import paired_intervals
from ffprof.compare.looks import LOOKS, error_of, look_of, next_look
from ffprof.compare.process_noise import noise_of
from ffprof.compare.rates import Rates, rates_of
from ffprof.compare.second_opinion import second_opinion
from ffprof.compare.statistics import RatioInterval, ratio_of
from ffprof.compare.summary import Row
from ffprof.compare.visible import known_freedom, smallest_change
from ffprof.records.audit import Record, SecondOpinion


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
            return RatioInterval(ratio=ratio_of(median(logs)), low=None, high=None, pairs=len(logs))
        pair = (rates.rows.index(challenger.workload), rates.rows.index(baseline.workload))
        found = paired_intervals(rates.array(), [pair], error_of(self._claims), rates.floors)
        middle, half = float(found.middle[0]), float(found.half[0])
        return RatioInterval(
            ratio=ratio_of(middle),
            low=ratio_of(middle - half),
            high=ratio_of(middle + half),
            pairs=len(logs),
        )

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


def _ratios(rates: Rates, challenger: Row, baseline: Row) -> list[float]:
    ours, theirs = rates.of([challenger.workload, baseline.workload]).logs
    return [a - b for a, b in zip(ours, theirs, strict=True)]
