"""On a real GPU: the budget, NVML and energy, against the real thing."""

import os

import pytest
import torch
from big_enough import BIG, larger_than
from command import ffprof, only_record, outcomes
from null_words import words

from ffprof.experiments.attempt import most_taken
from ffprof.hardware.machine import gpu_uuid
from ffprof.instruments.debit import CudaDebitMeter
from ffprof.instruments.nvml import open_gpu

pytestmark = pytest.mark.gpu

MIB = 2**20
# Estimated: bp-accum takes 1.3 to 2.2 GiB of it with context and libraries, bp 11 GiB and more.
BUDGET = "4000MB"
CHOICES = 64 * MIB  # cuDNN chooses its algorithms by what memory is free
STEADY_SECONDS = 5.0  # a counter that is renewed ten times a second says nothing of less


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    larger_than(4 * 2**30)
    folder = tmp_path_factory.mktemp("held")
    done = ffprof(
        *BIG, *words(["--rounds", 2], ["--rounds", 1, "--steps", 2]), "--workloads", "bp,bp-accum",
        "--gpu-mem", BUDGET, "--out", folder, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, only_record(folder)


def test_a_budget_holds_the_allocator_and_is_labelled(held):
    done, record = held
    assert record.evidence == "emulated"
    assert outcomes(record) == {"bp": "oom", "bp-accum": "ok"}, done.stdout
    total = record.budget.total_bytes
    for trial in record.trials:
        if trial.outcome == "oom":
            assert BUDGET in trial.message
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
    assert capped
    for trial in capped:
        ours, theirs = trial.memory.allocated_peak_bytes, beside.allocated_peak_bytes
        assert abs(ours - theirs) <= max(0.02 * theirs, CHOICES), (ours, theirs)


@pytest.mark.gpu_only("takes no energy")
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
        if energy.gap is not None and energy.seconds > STEADY_SECONDS:
            assert abs(energy.gap) < 0.25


def test_a_budget_below_the_context_is_one_line(tmp_path):
    done = ffprof(*BIG, "--gpu-mem", "50MB", "--out", tmp_path, timeout=200)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "50MB" in done.stderr or "50.0 MiB" in done.stderr


def test_a_budget_above_the_card_is_one_line(tmp_path):
    done = ffprof(*BIG, "--gpu-mem", "4000GB", "--out", tmp_path, timeout=200)
    assert done.returncode == 2
    assert "more than this GPU has" in done.stderr


# Last: from here on this process itself is on the GPU.
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
