"""On a real GPU: the budget, NVML, energy and what is estimated, against the real thing."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from command import ffprof, only_record, outcomes

from ffprof.audit.budgets import most_taken
from ffprof.hardware.machine import gpu_uuid
from ffprof.instruments.debit import CudaDebitMeter
from ffprof.instruments.nvml import open_gpu

pytestmark = pytest.mark.gpu

MIB = 2**20
BIG = [
    "run", "--preset", "small", "--device", "cuda", "--width", 2, "--image-size", 64,
    "--batch", 512, "--micro-batch", 32,
]  # fmt: skip


def larger_than(size):
    if torch.cuda.mem_get_info()[1] <= size:
        pytest.skip("this GPU is not larger than the budget")


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    larger_than(4 * 2**30)
    folder = tmp_path_factory.mktemp("held")
    done = ffprof(
        *BIG, "--rounds", 2, "--workloads", "bp,bp-accum", "--gpu-mem", "2500MB", "--out", folder,
        timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, only_record(folder)


def test_nvml_sees_this_gpu_and_at_least_what_is_reserved():
    hold = torch.zeros(256 * MIB // 4, device="cuda")
    gpu = open_gpu(gpu_uuid())
    seen = gpu.sample()
    gpu.close()
    assert seen.device_used_bytes >= hold.nbytes
    own = {p.pid: p.used_bytes for p in seen.processes or ()}.get(os.getpid())
    assert own is None or own >= hold.nbytes


def test_the_debit_is_there_and_does_not_follow_the_allocator():
    meter = CudaDebitMeter(gpu_uuid())
    torch.ones(1, device="cuda")
    before, source = meter.read()
    hold = torch.ones(512 * MIB // 4, device="cuda")
    after, _ = meter.read()
    del hold
    assert 50 * MIB < before < 4096 * MIB, source
    assert abs(after - before) < 32 * MIB


def test_a_budget_holds_the_allocator_and_is_labelled(held):
    done, record = held
    assert record.evidence == "emulated"
    assert outcomes(record) == {"bp": "oom", "bp-accum": "ok"}, done.stdout
    total = record.budget.total_bytes
    for trial in record.trials:
        if trial.outcome == "oom":
            assert "2500MB" in trial.message
            assert torch.cuda.get_device_name(0) not in trial.message
            continue
        peak = max(trial.memory.cold_reserved_peak_bytes, trial.memory.reserved_peak_bytes)
        assert peak <= trial.debit.limit_bytes
        assert peak + most_taken(trial.debit) <= total
        assert trial.debit.exceeded_bytes == 0
        seen = trial.memory.process_peak_bytes
        assert seen is None or seen <= total


def test_the_debit_is_shown_and_runs_without_a_limit_lie_beside(held):
    done, record = held
    assert "context and libraries take" in done.stdout
    for name in ("bp", "bp-accum"):
        found = record.ledger[name].uncapped
        assert found.memory.reserved_peak_bytes > 0, found.message
        assert found.debit.limit_bytes is None
    capped = [t for t in record.trials if t.outcome == "ok"]
    beside = record.ledger["bp-accum"].uncapped.memory
    assert all(t.memory.allocated_peak_bytes == beside.allocated_peak_bytes for t in capped)


def test_energy_is_there_and_counter_and_integral_agree(held):
    _, record = held
    trials = [t for t in record.trials if t.outcome == "ok"]
    assert trials
    for trial in trials:
        energy = trial.energy
        if energy is None:
            pytest.skip(f"no energy here: {trial.conditions.gpu and trial.conditions.gpu.unread}")
        limit = 1500.0  # watts; no single GPU takes more
        assert 0 < energy.joules < limit * (energy.seconds + 1)
        assert energy.gap is None or abs(energy.gap) < 0.25


def test_a_budget_below_the_context_is_one_line(tmp_path):
    done = ffprof(*BIG, "--gpu-mem", "50MB", "--out", tmp_path, timeout=300)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "50MB" in done.stderr or "50.0 MiB" in done.stderr


def test_a_budget_above_the_card_is_one_line(tmp_path):
    done = ffprof(*BIG, "--gpu-mem", "4000GB", "--out", tmp_path, timeout=300)
    assert done.returncode == 2
    assert "more than this GPU has" in done.stderr


def test_two_audits_on_one_gpu_are_refused_or_wait(tmp_path):
    words = [sys.executable, "-m", "ffprof", *map(str, BIG), "--workloads", "bp-accum"]
    words += ["--rounds", "2", "--out", str(tmp_path / "a")]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "a").glob("audit-*.json")) and time.monotonic() < deadline:
            time.sleep(0.5)  # by then it holds the GPU
        done = ffprof(*BIG, "--workloads", "bp-accum", "--out", tmp_path / "b", timeout=300)
        assert done.returncode == 3
        assert "another audit" in done.stderr
    finally:
        first.terminate()
        first.wait(timeout=60)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_estimates_are_what_the_gpu_takes(precision, tmp_path):
    """A few rows of a small recipe; benchmarks/estimates_on_gpu.py has every row of the large."""
    estimated = ffprof(
        "estimate", "--preset", "cifar", "--precision", precision, "--format", "json",
        "--workloads", "bp,bp-accum,dtg-ff,dtg-ff-streamed-accum", "--gpu-mem", "8GB",
    )  # fmt: skip
    assert estimated.returncode == 0, estimated.stderr
    done = ffprof(
        "run", "--preset", "cifar", "--precision", precision, "--device", "cuda", "--rounds", 1,
        "--workloads", "bp,bp-accum,dtg-ff,dtg-ff-streamed-accum", "--out", tmp_path, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = {t.workload: t.memory.allocated_peak_bytes for t in only_record(tmp_path).trials}
    bound = 0.01 if precision == "fp32" else 0.03
    document = json.loads(estimated.stdout)
    rows = document["rows"] if isinstance(document, dict) else document
    for row in rows:
        ours, theirs = row["memory"]["allocated_peak_bytes"], measured[row["workload"]]
        # Two MiB: rounding and workspaces are a good part of so small a net.
        assert abs(ours - theirs) <= max(2 * MIB, bound * theirs), (row["workload"], ours, theirs)


def test_the_largest_micro_batch_is_proven_by_runs(tmp_path):
    larger_than(4 * 2**30)
    done = ffprof(
        "run", "--max-batch", "--preset", "small", "--device", "cuda", "--workloads",
        "bp-accum", "--gpu-mem", "1500MB", "--out", tmp_path, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("capacity-*.json")
    (found,) = json.loads(path.read_text())["capacities"]
    ran = {t["size"]: t["outcome"] for t in found["tried"] if t["evidence"] != "estimated"}
    assert ran[found["largest"]] == "ok"
    assert list(ran.values()).count("oom") <= 4
