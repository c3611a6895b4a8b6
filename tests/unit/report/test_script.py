"""The report of a script: what it says of a step's cost, of several cards, of no card."""

import pytest

from ffprof.records.script import DevicePeak, HeldAtPeak, HeldByModule, ScriptEstimate, StepCost
from ffprof.report.estimate.script import flops_words, script_document, time_words
from ffprof.units import GIB, MIB


def record(**more):
    fields = {
        "command": ("python", "train.py"), "status": "fits", "fit": "fits", "steps": 3,
        "steps_requested": 3, "processes": 1, "seconds": 1.0, "card": "GeForce RTX 4060",
        "device_name": "NVIDIA GeForce RTX 4060", "budget_bytes": 8 * GIB,
        "capacity_bytes": 7 * GIB, "overhead_bytes": (100 * MIB, 200 * MIB, 300 * MIB),
        "cold_allocated_peak_bytes": GIB, "cold_reserved_peak_bytes": GIB,
    }  # fmt: skip
    return ScriptEstimate(**fields | more)


def told(found):
    document = script_document(found, 100)
    lines = [*document.setting]
    for block in document.blocks:
        lines += [block.heading, *block.text, *block.lines, block.caption or ""]
        lines += [" ".join(cell for cell in row if cell) for row in block.rows]
    return "\n".join(lines)


COST = StepCost(
    operators=1234, flops=1_210_000_000_000, seconds=0.0452, low_seconds=0.0314,
    high_seconds=0.0814, band_coverage=0.9,
)  # fmt: skip


def test_the_cost_of_a_step_is_one_line_and_called_estimated():
    text = told(record(step_cost=COST))
    assert (
        "A step runs 1,234 operators and computes 1.21 TFLOP: about 45.2 ms on GeForce RTX 4060 by "
        "the roofline (estimated; 90 % of public speeds: 31.4 ms to 81.4 ms)."
    ) in text
    paced = told(record(step_cost=COST.model_copy(update={"paced_by_host": True})))
    assert "at least about 31.4 ms on GeForce RTX 4060 (estimated)" in paced
    assert "45.2 ms" not in paced
    unknown = StepCost(operators=3, flops=12, band_coverage=0.9)
    assert "A step runs 3 operators and computes 12 FLOP (counted by" in told(
        record(step_cost=unknown, card=None)
    )
    assert "operators" not in told(record())


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0001234, "0.123 ms"), (1.316, "1.32 s"), (75, "1 min 15 s")]
)
def test_times(seconds, words):
    assert time_words(seconds) == words


def test_flops():
    assert [flops_words(n) for n in (999, 2 * 10**6, 3_456_000_000)] == [
        "999 FLOP", "2 MFLOP", "3.46 GFLOP",
    ]  # fmt: skip


def on(device, reserved):
    return DevicePeak(
        device=device, processes=device + 1, allocated_peak_bytes=GIB, reserved_peak_bytes=reserved,
        cold_allocated_peak_bytes=MIB, cold_reserved_peak_bytes=MIB,
        process_range_bytes=(reserved + 100 * MIB, reserved + 300 * MIB),
    )  # fmt: skip


def test_several_cards_have_a_row_each():
    text = told(record(cards=3, by_device=(on(0, 2 * GIB), on(1, 3 * GIB))))
    assert "3 x GeForce RTX 4060: CUDA offers 8.00 GiB" in text
    assert "0 1 1.00 GiB 2.00 GiB 1.00 MiB 2.10 to 2.29 GiB" in text
    assert "1 2 1.00 GiB 3.00 GiB 1.00 MiB 3.10 to 3.29 GiB" in text
    assert "1 of 3 cards were not used" in text


def test_without_a_card_nothing_is_said_to_fit():
    text = told(record(card=None, fit=None, device_name="a GPU without a limit"))
    assert "It ran; whether it fits a card was not asked." in text
    assert "a GPU without a limit: the allocator may take 7.00 GiB" in text
    assert "It fits" not in text


def test_modules_have_shares_of_the_peak():
    modules = (
        HeldByModule(module="layer1.conv", by_category={"activations": 3 * MIB, "other": MIB}),
        HeldByModule(by_category={"activations": MIB}),
    )
    peak = HeldAtPeak(
        by_category={"activations": 4 * MIB, "other": MIB}, lines=(), slack_bytes=0, modules=modules
    )
    text = told(record(peak=peak))
    assert "4.00 MiB 80% layer1.conv activations 75%" in text
    assert "1.00 MiB 20% outside modules activations" in text
    bare = peak.model_copy(update={"modules": ()})
    assert "By module" not in told(record(peak=bare))
