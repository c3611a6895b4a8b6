import hostile_workloads
import pytest
import torch
from records import recipe

from ffprof.errors import RefusedError
from ffprof.harness import timeline
from ffprof.harness.timeline import MAX_WARMUP, Instruments, _is_warm
from ffprof.harness.trial import measure
from ffprof.instruments.allocator import AllocatorPeaks, FakeAllocator
from ffprof.instruments.clock import FakeClock
from ffprof.instruments.host_memory import FakeHostMemory
from ffprof.workload import find_workload, workload_names

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
COLD = AllocatorPeaks(allocated_peak_bytes=9, reserved_peak_bytes=20, alloc_retries=0, oom_events=0)
STEADY = AllocatorPeaks(
    allocated_peak_bytes=7, reserved_peak_bytes=12, alloc_retries=2, oom_events=1
)


def run(description=None, clock=None, **changes):
    chosen = recipe(**({"width": 0.0625, "steps": 6, "min_steps": 3} | changes))
    tools = Instruments(
        clock=clock or FakeClock([0.5] * 50),
        allocator=FakeAllocator([COLD, STEADY]),
        host=FakeHostMemory(123),
    )
    return measure(description or find_workload("bp"), chosen, CPU, tools)


def test_figures_come_from_the_instruments():
    report = run()
    memory, speed = report.memory, report.throughput
    assert speed.step_seconds == (0.5,) * 6
    assert speed.images_per_second == 8 / 0.5
    assert (memory.allocated_peak_bytes, memory.cold_allocated_peak_bytes) == (7, 9)
    assert (memory.reserved_peak_bytes, memory.cold_reserved_peak_bytes) == (12, 20)
    assert (memory.alloc_retries, memory.oom_events, memory.capped) == (2, 1, True)
    assert memory.host_peak_bytes == 123
    assert report.conditions.host_peak_reset is True
    assert memory.live_tensor_peak_bytes > memory.breakdown["parameters_bytes"] * 3
    # AdamW keeps two moments a parameter, and a step count.
    state, weights = (memory.breakdown[f"{n}_bytes"] for n in ("optimizer_state", "parameters"))
    assert 2 * weights < state < 2 * weights + 4 * 100


def test_the_time_box_ends_the_timed_phase_but_not_before_the_least_steps():
    assert len(run(step_box_seconds=1.9).throughput.step_seconds) == 4
    assert len(run(step_box_seconds=0.1).throughput.step_seconds) == 3
    assert len(run(step_box_seconds=99).throughput.step_seconds) == 6


def test_uneven_steps_are_all_kept_and_the_rate_is_over_the_whole_phase():
    report = run(clock=FakeClock([0.1, 0.3, 0.2, 0.2, 0.1, 0.3]))
    assert report.throughput.images_per_second == pytest.approx(8 * 6 / 1.2)
    assert report.throughput.step_seconds == (0.1, 0.3, 0.2, 0.2, 0.1, 0.3)


@pytest.mark.parametrize(
    ("taken", "least", "warm"),
    [
        ([], 2, False),
        ([1.0], 2, False),
        ([9.0, 1.0], 2, False),
        ([9.0, 1.0, 1.05], 2, True),
        ([1.0, 1.0], 3, False),
        ([1.0, 2.0] * (MAX_WARMUP // 2), 2, True),
        ([1.0, 2.0] * 10, 30, False),
    ],
)
def test_warm_means_two_steps_alike_after_the_least_number(taken, least, warm):
    assert _is_warm(taken, least) is warm


def test_memory_repeats_to_the_byte():
    for name in ("bp", "dtg-ff", "dtg-ff-streamed-accum", "bp-ckpt", "bp-offload", "bp-fused-step"):
        peaks = {run(find_workload(name)).memory.live_tensor_peak_bytes for _ in range(2)}
        assert len(peaks) == 1, name


def test_accumulation_holds_less_than_the_full_batch():
    big = {"batch": 32, "micro_batch": 4}
    full = run(**big).memory
    cut = run(find_workload("bp-accum"), **big).memory
    saved = "saved_for_backward_peak_bytes"
    assert cut.breakdown[saved] == pytest.approx(full.breakdown[saved] / 8, rel=0.02)
    assert cut.live_tensor_peak_bytes < full.live_tensor_peak_bytes


def test_losses_are_of_training():
    report = run(steps=20, width=0.125, batch=16, micro_batch=8)
    assert report.loss.finite
    assert report.loss.fell
    assert report.loss.first == pytest.approx(2.3, abs=0.6)  # ln 10, about
    still = run(hostile_workloads.LEARNS_NOTHING)
    assert not still.loss.fell
    nan = run(hostile_workloads.DIVERGES)
    assert (nan.loss.first, nan.loss.last, nan.loss.finite) == (None, None, False)


def test_facts_say_what_the_harness_found():
    full, cut = run().facts, run(find_workload("bp-accum")).facts
    assert (full["micro_batch"], cut["micro_batch"]) == (8, 4)
    assert (full["norm_momentum"], cut["norm_momentum"]) == (0.1, pytest.approx(0.051317))
    assert cut["norm_statistics_over"] == "4 images"
    assert run(norm="group").facts["norm_statistics_over"] == "one image"
    assert full["backbone"] == "shared"
    assert full["backbone_digest"] == cut["backbone_digest"]
    local = run(find_workload("dtg-ff")).facts
    assert local["backbone_parameters"] == full["backbone_parameters"]
    assert local["head_parameters"] != full["head_parameters"]
    assert local["not_decayed_parameters"] == 6
    assert local["parameters_with_gradient"] == (
        local["backbone_parameters"] + local["head_parameters"]
    )
    assert full["convolutions_fed_channels_last"] == "some"
    assert run(memory_format="channels_last").facts["convolutions_fed_channels_last"] == "all"
    assert run(find_workload("hinton-ff")).facts["norm_statistics_over"] == "no norm modules"
    assert full["parameter_dtypes"] == "float32"
    assert full["optimizer_steps_per_epoch"] == 1500 // 8


def test_a_backbone_that_is_not_the_shared_one_is_refused():
    with pytest.raises(RefusedError, match="shared weights"):
        run(hostile_workloads.OTHER_WEIGHTS)


def test_a_workload_that_turns_switches_is_refused():
    with pytest.raises(RefusedError, match="cudnn_benchmark"):
        run(hostile_workloads.CHANGES_FLAGS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NO_BACKWARD", "no parameter receives a gradient"),
        ("PART_OF_THE_BATCH", "every image"),
        ("OWN_PRECISION", "autocast on"),
        ("OWN_OPTIMIZER", "changes its parameters"),
        ("OWN_STEP_BEHIND", "changes its parameters"),
        ("EDGES_OF_THE_BATCH", "every image"),
        ("OWN_BACKWARD", "not loss.backward"),
        ("FOREIGN_BACKBONE", "not part of the module"),
    ],
)
def test_a_workload_that_leaves_work_out_is_refused(name, said):
    with pytest.raises(RefusedError, match=said):
        run(getattr(hostile_workloads, name))


def test_a_workload_that_diverges_is_not_accused_of_stepping():
    report = run(hostile_workloads.PARAMETERS_BECOME_NAN)
    assert not report.loss.finite


def test_warm_up_lasts_until_loss_scaling_has_let_a_step_through():
    """Gradients are too large for a while: the scale is halved until they are not."""
    report = run(hostile_workloads.LARGE_GRADIENTS, precision="fp16", steps=3)
    skipped = report.conditions.skipped_optimizer_steps
    assert 3 < skipped < 24
    assert len(report.throughput.warmup_step_seconds) >= skipped + 2
    assert report.memory.breakdown["optimizer_state_bytes"] > 0


def test_what_a_workload_keeps_is_counted_wherever_it_keeps_it():
    plain = run().memory.live_tensor_peak_bytes
    assert run(hostile_workloads.HOARDS).memory.live_tensor_peak_bytes == plain + (1 << 20)


def test_a_workload_cannot_change_the_recipe():
    report = run(hostile_workloads.CHANGES_RECIPE)
    assert len(report.throughput.step_seconds) == 6
    assert report.throughput.images_per_second == 8 / 0.5


def test_losses_are_of_the_same_steps_however_long_the_trial():
    short, long = run(steps=3), run(steps=9)
    assert short.loss == long.loss
    assert short.loss.steps == 3 + 1 + 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"precision": "bf16"}, {"precision": "fp16"}, {"memory_format": "channels_last"}],
)
@pytest.mark.parametrize("name", workload_names())
def test_every_recipe_runs(name, changes, monkeypatch):
    monkeypatch.setattr(timeline, "MAX_WARMUP", 2)  # how fast is nothing that is asked here
    workload = find_workload(name)
    if workload.objection(recipe(**changes)):
        assert name == "bp-fused-step"
        assert changes == {"precision": "fp16"}
        return
    report = run(workload, steps=2, **changes)
    assert report.memory.breakdown["optimizer_state_bytes"] > 0  # a step was taken
    assert (report.conditions.skipped_optimizer_steps is None) is ("fp16" not in changes.values())
    assert report.loss.finite
    (key,) = changes
    assert report.facts[key] == changes[key]
