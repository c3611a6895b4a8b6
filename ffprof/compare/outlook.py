"""What a record's own noise says about what more rounds would see."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ffprof.compare.looks import LOOKS
from ffprof.compare.process_noise import noise_of
from ffprof.compare.rates import rates_of
from ffprof.compare.summary import summarise
from ffprof.compare.visible import smallest_changes
from ffprof.records.audit import Record

FEWEST_ROUNDS = 3  # a standard deviation of two is no more than their difference


def smallest_visible(record: Record, workloads: Sequence[str]) -> dict[int, float]:
    """By look, in rounds: the least loss of speed that a comparison finds in 19 of 20 cases.

    In the median of these workloads, by the noise of their own rounds; empty where they have too
    few. As ``compare.visible.smallest_changes``.
    """
    rows = [row for row in summarise(record) if row.workload in workloads and row.throughput]
    rates = rates_of(record, [row for row in rows if row.settled == "ok"])
    if not rates.rows or rates.rounds < FEWEST_ROUNDS:
        return {}
    deviations = [noise.sd for noise in noise_of(rates.logs)]
    return {look: median(smallest_changes(deviations, look)) for look in LOOKS}
