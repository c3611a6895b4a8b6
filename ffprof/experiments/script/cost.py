"""What a step of a script computes, and how long that takes on a card by the roofline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from ffprof.estimator.roofline import (
    CARD_BOUND_SECONDS,
    FITTED,
    Efficiencies,
    Timed,
    kernels_of,
    time_operator,
)
from ffprof.estimator.stream import Operator
from ffprof.hardware.profile import Card
from ffprof.nulldevice.script.report import OperatorRuns, StepOperators
from ffprof.records.base import MOST_ITEMS
from ffprof.records.script import StepCost


def cost_of(
    work: StepOperators, card: Card | None, efficiencies: Efficiencies = FITTED
) -> StepCost:
    """Operators, FLOPs, and the time on a card; of several cards, that of the slowest.

    Cards are taken to work side by side. There is no time without a card, nor if not all operators
    are told.
    """
    flops: Counter[str] = Counter()
    for one in work.rows:
        if one.flops:
            flops[one.name] += one.flops * one.times
    if card is None or not work.complete:
        seconds, kernels = None, 0
    else:
        seconds, kernels = _slowest(work, card, efficiencies)
    known = seconds is not None and seconds > 0
    return StepCost(
        operators=work.count,
        flops=sum(flops.values()),
        flops_by_operator=dict(flops.most_common(MOST_ITEMS)),
        seconds=seconds if known else None,
        low_seconds=seconds * efficiencies.band_low if seconds and known else None,
        high_seconds=seconds * efficiencies.band_high if seconds and known else None,
        band_coverage=efficiencies.band_coverage,
        paced_by_host=bool(seconds and seconds / max(1, kernels) < CARD_BOUND_SECONDS),
    )


def _slowest(work: StepOperators, card: Card, efficiencies: Efficiencies) -> tuple[float, int]:
    """(seconds, kernels) of the card that takes longest."""
    by_device: dict[int, list[Timed]] = defaultdict(list)
    for one in work.rows:
        by_device[one.device].append(_timed(one, work, card, efficiencies))
    return max((_sum(timed) for timed in by_device.values()), default=(0.0, 0))


def _sum(timed: Iterable[Timed]) -> tuple[float, int]:
    busy = [one for one in timed if one.seconds > 0]
    kernels = sum(kernels_of(one.operator.name) * one.operator.times for one in busy)
    return sum(one.seconds for one in busy), kernels


def _timed(one: OperatorRuns, work: StepOperators, card: Card, efficiencies: Efficiencies) -> Timed:
    operator = Operator(
        # One call of cuDNN, whose work is products.
        name="aten.linear" if "_cudnn_rnn" in one.name else one.name,
        phase=one.phase,  # type: ignore[arg-type]
        module="",
        flops=one.flops,
        read_bytes=one.read_bytes,
        written_bytes=one.written_bytes,
        element_bytes=one.element_bytes,
        position=0,
        times=one.times,
    )
    convolution = "convolution" in one.name
    return time_operator(
        operator,
        card,
        precision="bf16" if one.half == "bf16" else "fp16",
        tf32=work.tf32_convolutions if convolution else work.tf32_products,
        channels_last=one.channels_last,
        efficiencies=efficiencies,
    )
