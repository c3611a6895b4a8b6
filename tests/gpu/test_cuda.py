"""On a real GPU: what the fakes pretend is checked against the real thing."""

import pytest
import torch
from command import by_workload, ffprof, only_record, outcomes
from null_words import HOST_LOSS, ON_NULL, words
from proving import EXACT, same, trained
from records import recipe

pytestmark = pytest.mark.gpu

MIB = 1024 * 1024
FEW = "bp-accum,dtg-ff-streamed-accum,host-loss"


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    rows = words([], [*HOST_LOSS, "--workloads", FEW, "--steps", 3])
    done = ffprof(
        "run", "--preset", "small", "--device", "cuda", "--rounds", 2, *rows, "--out", folder,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, only_record(folder)


def test_every_row_is_ok_and_every_figure_is_there(audit):
    _, record = audit
    assert set(outcomes(record).values()) == {"ok"}
    for trial in record.trials:
        memory = trial.memory
        assert 0 < memory.allocated_peak_bytes <= memory.reserved_peak_bytes
        assert memory.cold_allocated_peak_bytes > 0
        assert memory.cold_reserved_peak_bytes >= memory.reserved_peak_bytes
        assert memory.device_peak_bytes is not None or memory.unread["device_peak_bytes"]
        assert trial.conditions.start_method == "spawn"
        assert trial.loss is None if ON_NULL else trial.loss.fell
        assert (trial.throughput is None) is ON_NULL


def test_allocator_and_live_tensor_peaks_repeat_to_the_byte(audit):
    _, record = audit
    for field in ("allocated_peak_bytes", "live_tensor_peak_bytes"):
        peaks = by_workload(record, lambda trial, field=field: getattr(trial.memory, field))
        assert all(len(found) == 1 for found in peaks.values()), (field, peaks)


def test_live_tensors_stay_below_what_the_allocator_saw(audit):
    """Live tensors leave out workspaces and rounding, so they are the smaller figure."""
    _, record = audit
    for trial in record.trials:
        assert trial.memory.live_tensor_peak_bytes <= trial.memory.allocated_peak_bytes * 1.01


def test_what_is_outside_the_allocator_is_learned(audit):
    """The command kept it where estimates look; the cache is the tests' own (conftest)."""
    from ffprof.estimator.overhead import identity_of, learned_overhead, overheads_in

    _, record = audit
    found = overheads_in(record)
    assert found
    assert all(50 * MIB < outside < 4096 * MIB for outside in found)
    learned, note = learned_overhead(identity_of(record.machine))
    assert note == ""
    if ON_NULL:  # there it was assumed
        assert learned is None
        return
    assert learned.measured
    assert learned.low_bytes <= min(found) <= max(found) <= learned.high_bytes


@pytest.mark.gpu_only("takes no time for kernels")
def test_event_times_agree_with_the_host_clock():
    import time

    from ffprof.instruments.clock import CudaClock

    a = torch.randn(2048, 2048, device="cuda")
    clock = CudaClock()
    for _ in range(3):
        a @ a
    clock.start()
    started = time.perf_counter()
    for _ in range(20):
        a @ a
        clock.lap()
    laps = clock.laps()
    host = time.perf_counter() - started
    assert len(laps) == 20
    assert sum(laps) == pytest.approx(host, rel=0.2)


@pytest.fixture
def deterministic(monkeypatch):
    from ffprof.hardware.flags import apply_flags

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    flags = {"deterministic": True, "cudnn_benchmark": False}
    apply_flags(recipe(flags=flags))
    yield flags
    apply_flags(recipe())


@pytest.mark.gpu_only("computes no values")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("name", "wanted"), EXACT)
def test_schedules_are_the_same_training_to_the_bit(name, wanted, norm, precision, deterministic):
    made = recipe(norm=norm, width=0.25, precision=precision, flags=deterministic)
    if name == "bp-fused-step" and precision == "fp16":
        pytest.skip("stepping inside backward cannot be combined with loss scaling")
    assert same(trained(name, made, device="cuda"), trained(wanted, made, device="cuda"))


def test_offloading_frees_the_gpu():
    from ffprof.harness.data.batches import make_batches
    from ffprof.harness.step import build_step
    from ffprof.workload import find_workload

    made = recipe(width=1.0, batch=64, micro_batch=64, image_size=32)
    part, peaks = make_batches(made, "cpu").batch(0), {}
    for name in ("bp", "bp-offload"):
        built = build_step(find_workload(name), made, torch.device("cuda"))
        built.step([part])
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        built.step([part])
        peaks[name] = torch.cuda.max_memory_allocated()
        del built
    assert peaks["bp-offload"] < 0.8 * peaks["bp"]


def test_no_workload_waits_for_the_gpu_inside_a_step():
    """The host may run ahead: nothing in accumulate or in the optimizer asks the device."""
    from ffprof.harness.data.batches import make_batches
    from ffprof.harness.step import build_step
    from ffprof.workload import find_workload, workload_names

    made = recipe(width=0.125)
    for name in workload_names():
        workload = find_workload(name)
        built = build_step(workload, made, torch.device("cuda"))
        images, labels = make_batches(made, "cuda").batch(0)
        micro = workload.micro_batch(made)
        parts = list(zip(images.split(micro), labels.split(micro), strict=True))
        for _ in range(2):
            built.step(parts)
        torch.cuda.set_sync_debug_mode("error")
        try:
            built.step(parts)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu_only("has no part in loading: tests/integration/test_file_data.py")
@pytest.mark.parametrize("workers", [0, 2])
def test_images_from_files_reach_the_gpu_and_waiting_is_measured(workers, tmp_path):
    import pictures

    from ffprof.harness.trial import measure
    from ffprof.workload import find_workload

    root = pictures.image_folder(tmp_path)
    made = recipe(data="imagefolder", data_root=str(root), classes=3, data_workers=workers, steps=6)
    report = measure(find_workload("bp-accum"), made, torch.device("cuda"))
    assert report.loss.finite
    speed = report.throughput
    assert 0 <= speed.data_wait_seconds < sum(speed.step_seconds)
