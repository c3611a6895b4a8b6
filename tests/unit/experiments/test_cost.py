"""What a step computes, and its time on a card."""

import pytest

from ffprof.estimator.roofline import FITTED, step_time
from ffprof.estimator.stream import Operator
from ffprof.experiments.script.cost import cost_of
from ffprof.hardware.cards import find_card
from ffprof.nulldevice.script.report import OperatorRuns, StepOperators

CARD = find_card("RTX 4060")


def runs(name, *, device=0, flops=0, size=2**28, element=4, half="", times=1):
    return OperatorRuns(
        name=name, phase="forward", device=device, flops=flops, read_bytes=size,
        written_bytes=size, element_bytes=element, half=half, times=times,
    )  # fmt: skip


def work(*rows, **more):
    switches = {"complete": True, "tf32_products": False, "tf32_convolutions": False} | more
    return StepOperators(rows=rows, count=sum(one.times for one in rows), **switches)


def operators(*rows):
    return [
        Operator(
            name=one.name, phase="forward", module="", flops=one.flops, read_bytes=one.read_bytes,
            written_bytes=one.written_bytes, element_bytes=one.element_bytes, position=0,
            times=one.times,
        )
        for one in rows
    ]  # fmt: skip


ROWS = (runs("aten.mm", flops=10**12), runs("aten.relu", times=3), runs("aten.view"))


def test_the_time_is_that_of_the_roofline():
    found = cost_of(work(*ROWS), CARD)
    expected = step_time(operators(*ROWS), CARD, precision="fp32", tf32=False)
    assert found.seconds == pytest.approx(expected.seconds)
    assert found.low_seconds == pytest.approx(expected.low_seconds)
    assert found.high_seconds == pytest.approx(expected.high_seconds)
    assert found.paced_by_host is not expected.band_applies
    assert (found.operators, found.flops) == (5, 10**12)
    assert found.flops_by_operator == {"aten.mm": 10**12}
    assert found.band_coverage == FITTED.band_coverage


def test_switches_and_formats_are_those_of_each_operator():
    product = runs("aten.mm", flops=10**13, size=1)
    plain = cost_of(work(product), CARD).seconds
    assert cost_of(work(product, tf32_convolutions=True), CARD).seconds == plain
    assert cost_of(work(product, tf32_products=True), CARD).seconds != plain
    half = runs("aten.mm", flops=10**13, size=1, element=2, half="bf16")
    assert cost_of(work(half), CARD).seconds < plain
    recurrent = runs("aten._cudnn_rnn", flops=10**13, size=1, element=2, half="bf16")
    assert cost_of(work(recurrent), CARD).seconds == cost_of(work(half), CARD).seconds


def test_of_several_cards_the_slowest_counts():
    first, second = runs("aten.mm", flops=10**12), runs("aten.mm", flops=10**13, device=1)
    both = cost_of(work(first, second), CARD)
    assert both.seconds == cost_of(work(second), CARD).seconds
    assert both.flops == 11 * 10**12


def test_without_a_card_or_with_operators_left_out_there_is_no_time():
    assert cost_of(work(*ROWS), None).seconds is None
    assert cost_of(work(*ROWS, complete=False), CARD).seconds is None
    assert cost_of(work(), CARD).seconds is None
    assert cost_of(work(*ROWS), None).flops == 10**12
    short = runs("aten.relu", size=1024, times=100)
    assert cost_of(work(short), CARD).paced_by_host
