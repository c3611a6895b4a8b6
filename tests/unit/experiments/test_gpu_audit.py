"""An audit on a GPU as its parent sees it: real processes, a told driver (fake_gpu)."""

import dataclasses
import functools
import multiprocessing
import os
import time

import fake_gpu
import pytest
from fake_gpu import MIB, UUID, FakeGpu, with_processes
from records import record

from ffprof.cli.output.progress import QuietProgress
from ffprof.errors import DeviceError
from ffprof.experiments import attempt
from ffprof.experiments.audit import runner
from ffprof.experiments.request import Request
from ffprof.harness.process import guard, monitor
from ffprof.harness.process.guard import GpuLock, Guard
from ffprof.records.audit import Budget
from ffprof.records.store import load
from ffprof.workload import find_workload

pytestmark = pytest.mark.slow

STRANGER = os.getppid()  # a process of this machine that is not ours


class Said(QuietProgress):
    def __init__(self):
        self.lines = []

    def says(self, text):
        self.lines.append(text)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch, tmp_path):
    monkeypatch.setattr(attempt, "trial_child", fake_gpu.trial_child)
    monkeypatch.setattr(attempt, "memory_child", fake_gpu.memory_child)
    # Looked at more often than the ten times a second that would not disturb a real one.
    looked_at = functools.partial(attempt.run_child, tick_seconds=0.02)
    monkeypatch.setattr(attempt, "run_child", looked_at)
    monkeypatch.setattr(guard, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(guard, "_POLL_SECONDS", 0.01)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def audit(
    tmp_path, gpu, *, rounds=1, workloads=("bp",), evidence="measured", policy="warn", said=None,
    begun=None, run_limit=None,
):  # fmt: skip
    made = begun or record([], workloads=workloads, rounds=rounds)
    tmp_path.mkdir(exist_ok=True)
    machine = made.machine.model_copy(update={"gpu_uuid": UUID, "gpu": "card"})
    total = {"total_bytes": 8000 * MIB, "requested": "8GB", "card": "card"}
    if evidence == "emulated":
        total["target_debit_bytes"] = 400 * MIB
    update = {
        "machine": machine, "evidence": evidence,
        "plan": made.plan.model_copy(
            update={"trial_limit_seconds": 60.0, "run_limit_seconds": run_limit}
        ),
    }  # fmt: skip
    if begun is None:
        update["budget"] = Budget(**total)
    made = made.model_copy(update=update)
    progress = said or Said()
    request = Request(
        record=made,
        workloads=tuple(find_workload(n) for n in made.plan.workloads),
        device="cuda",
        path=tmp_path / "audit.json",
        context=multiprocessing.get_context("fork"),
        on_foreign=policy,
    )

    def opened(uuid):
        assert uuid == UUID
        if isinstance(gpu, Exception):
            raise gpu
        return gpu

    watched = Guard(UUID, policy, say=progress.says, opened=opened)
    return runner.run_audit(request, progress, guard=watched)


def test_a_clean_trial_has_debit_energy_conditions_and_peaks(tmp_path, monkeypatch):
    # On a busy machine samples may be far apart; this GPU draws the same all the time.
    monkeypatch.setattr("ffprof.instruments.nvml.energy.HOLE_SECONDS", 60.0)
    monkeypatch.setattr("ffprof.instruments.nvml.energy.HOLD_SECONDS", 60.0)
    seen = []

    def change(sample, number):
        (child,) = multiprocessing.active_children() or [None]
        if child is None:
            return sample
        seen.append(child.pid)
        return with_processes(sample, child.pid)

    outcome = audit(tmp_path, gpu := FakeGpu(change))
    (trial,) = outcome.record.trials
    assert outcome.stopped is None
    assert trial.outcome == "ok", trial.message
    assert trial.memory.process_peak_bytes == 800 * MIB
    assert trial.memory.device_peak_bytes == 900 * MIB
    assert trial.debit.step_bytes == 500 * MIB
    assert outcome.record.budget.debit_bytes == 500 * MIB
    assert outcome.record.budget.limit_bytes == 7500 * MIB
    seconds = trial.energy.seconds
    assert fake_gpu.TIMED_SECONDS * 0.9 < seconds < trial.conditions.wall_seconds
    assert trial.energy.joules == pytest.approx(fake_gpu.WATTS * seconds, rel=0.05)
    assert trial.energy.images == 24
    assert trial.energy.idle_watts == pytest.approx(fake_gpu.WATTS)
    assert abs(trial.energy.gap) < 0.05
    assert trial.conditions.gpu.clock_mhz == 1500
    assert trial.conditions.gpu.foreign == ()
    assert trial.conditions.disturbances == ()
    assert trial.conditions.nvml_samples >= 2
    assert gpu.closed
    assert seen
    assert load(tmp_path / "audit.json") == outcome.record


def test_an_emulated_card_has_runs_without_a_limit_first(tmp_path):
    names = ("bp", "hinton-ff")  # which are their own references, so that nothing is proved
    outcome = audit(tmp_path, FakeGpu(), evidence="emulated", workloads=names)
    rows = outcome.record.ledger
    for name in names:
        assert rows[name].uncapped.memory.reserved_peak_bytes == 9000 * MIB
        assert rows[name].uncapped.debit.step_bytes == 620 * MIB
    # The trials were held to the card less what that run took, not to the estimate's 400 MiB.
    assert {t.debit.counted_bytes for t in outcome.record.trials} == {620 * MIB}


def test_a_slowed_trial_is_taken_again_and_the_spoilt_one_is_kept_apart(tmp_path):
    def hot(sample, number):
        late = (tmp_path / "audit.json").exists()
        return sample if late else dataclasses.replace(sample, throttle=0x40)

    said = Said()
    outcome = audit(tmp_path, FakeGpu(hot), said=said)
    (kept,), (spoilt,) = outcome.record.trials, outcome.record.discarded
    assert (spoilt.attempt, kept.attempt) == (0, 1)
    assert spoilt.id != kept.id
    assert spoilt.conditions.disturbances
    assert kept.conditions.disturbances == ()
    assert any("is repeated: " in line for line in said.lines)


def test_what_is_always_slowed_is_kept_and_marked_after_two_more_chances(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "CALM_SECONDS", 0.05)

    def hot(sample, number):
        return dataclasses.replace(sample, throttle=0x40)

    outcome = audit(tmp_path, FakeGpu(hot), rounds=4)
    assert len(outcome.record.trials) == 4
    assert all(trial.conditions.disturbances for trial in outcome.record.trials)
    # Four retakes may always be: two of the first trial, two of the second, and no more.
    assert [t.attempt for t in outcome.record.trials] == [2, 2, 0, 0]
    assert len(outcome.record.discarded) == 4


def test_a_power_cap_is_recorded_and_does_not_disturb(tmp_path):
    outcome = audit(tmp_path, FakeGpu(lambda s, n: dataclasses.replace(s, throttle=0x04)))
    (trial,) = outcome.record.trials
    assert trial.conditions.disturbances == ()
    assert outcome.record.discarded == ()


def intruded(there):
    def change(sample, number):
        return with_processes(sample, STRANGER, used=3000 * MIB) if there() else sample

    return FakeGpu(change)


def always():
    return True


def test_a_process_that_comes_into_a_trial_disturbs_it(tmp_path):
    def while_the_first_runs():
        return bool(multiprocessing.active_children()) and not (tmp_path / "audit.json").exists()

    outcome = audit(tmp_path, intruded(while_the_first_runs))
    assert len(outcome.record.discarded) == 1
    assert outcome.record.trials[-1].conditions.disturbances == ()
    told = outcome.record.discarded[0].conditions.gpu
    assert str(STRANGER) in told.foreign[0]
    assert told.foreign_peak_bytes == 3000 * MIB


def test_who_was_there_before_marks_every_trial_and_nothing_is_taken_again(tmp_path):
    said = Said()
    outcome = audit(tmp_path, intruded(always), said=said, rounds=2)
    assert outcome.record.discarded == ()
    assert str(STRANGER) in outcome.record.notes[0]
    assert said.lines == [outcome.record.notes[0]]
    for trial in outcome.record.trials:
        assert trial.conditions.disturbances[0].startswith(monitor.LASTING)
        assert trial.conditions.gpu.foreign
        assert trial.energy is None or trial.energy.idle_watts is None  # it was not idle


def test_who_has_left_since_marks_nothing(tmp_path):
    outcome = audit(tmp_path, intruded(lambda: not multiprocessing.active_children()))
    assert str(STRANGER) in outcome.record.notes[0]
    assert outcome.record.trials[0].conditions.disturbances == ()


def test_a_crowd_is_told_in_a_few_words_and_the_file_can_be_read(tmp_path):
    def crowded(sample, number):
        return with_processes(sample, *range(4_000_000, 4_000_200))

    outcome = audit(tmp_path, FakeGpu(crowded))
    assert "and 196 more" in outcome.record.notes[0]
    assert load(tmp_path / "audit.json").notes == outcome.record.notes


def test_what_is_on_the_gpu_and_not_listed_is_somebody(tmp_path):
    def hidden(sample, number):
        return dataclasses.replace(sample, device_used_bytes=40_000 * MIB)

    with pytest.raises(DeviceError, match="processes not listed"):
        audit(tmp_path, FakeGpu(hidden), policy="refuse")
    (trial,) = audit(tmp_path, FakeGpu(hidden)).record.trials
    assert trial.conditions.disturbances[0].startswith(monitor.LASTING)


@pytest.mark.parametrize("policy", ["warn", "wait", "refuse"])
def test_what_nvml_does_not_tell_is_noted(tmp_path, policy):
    def untold(sample, number):
        return dataclasses.replace(sample, processes=None, unread={"processes": "Not Supported"})

    notes = audit(tmp_path, FakeGpu(untold), policy=policy).record.notes
    assert "not known (Not Supported)" in notes[0]
    assert ("cannot be kept" in notes[0]) == (policy != "warn")


def test_a_trial_that_is_still_listed_is_no_stranger(tmp_path):
    seen = []

    def lingering(sample, number):
        seen.extend(child.pid for child in multiprocessing.active_children())
        return with_processes(sample, *seen[-1:])

    outcome = audit(tmp_path, FakeGpu(lingering), policy="refuse", rounds=2)
    assert outcome.stopped is None
    assert len(outcome.record.trials) == 2


def test_a_process_that_nvml_saw_beyond_the_card_is_told_whatever_became_of_it(
    tmp_path, monkeypatch
):
    def large(sample, number):
        (child,) = multiprocessing.active_children() or [None]
        return with_processes(sample, child.pid, used=9000 * MIB) if child else sample

    (trial,) = audit(tmp_path, FakeGpu(large), evidence="emulated").record.trials
    assert trial.debit.exceeded_bytes == 1000 * MIB
    assert any("more than the card has" in one for one in trial.conditions.disturbances)
    monkeypatch.setattr(attempt, "trial_child", fake_gpu.oom_child)
    again = audit(tmp_path / "x", FakeGpu(large), evidence="emulated").record
    assert again.trials[0].debit.exceeded_bytes == 1000 * MIB
    assert again.budget.debit_bytes == 620 * MIB


def test_runs_without_a_limit_are_kept_even_before_the_first_trial(tmp_path):
    def gone(sample, number):
        return None if (tmp_path / "audit.json").exists() else sample

    outcome = audit(tmp_path, FakeGpu(gone), evidence="emulated")
    assert "the GPU is gone" in outcome.stopped
    assert load(tmp_path / "audit.json").ledger["bp"].uncapped.memory


def test_refuse_does_not_begin_and_wait_waits(tmp_path):
    with pytest.raises(DeviceError, match=str(STRANGER)):
        audit(tmp_path, intruded(always), policy="refuse")
    assert not (tmp_path / "audit.json").exists()
    said, waits = Said(), "waiting until the GPU is free"
    there = intruded(lambda: not any(waits in line for line in said.lines))
    outcome = audit(tmp_path, there, policy="wait", said=said)
    assert outcome.stopped is None
    assert any(waits in line for line in said.lines)
    assert outcome.record.trials[0].conditions.disturbances == ()


def test_waiting_ends_with_the_runs_limit(tmp_path):
    with pytest.raises(DeviceError, match="time limit"):
        audit(tmp_path, intruded(always), policy="wait", run_limit=0.3)


def test_refuse_in_the_middle_keeps_what_is_done(tmp_path):
    gpu = intruded((tmp_path / "audit.json").exists)
    outcome = audit(tmp_path, gpu, policy="refuse", rounds=8)
    assert "other processes" in outcome.stopped
    assert len(outcome.record.trials) == 1
    assert load(tmp_path / "audit.json").trials == outcome.record.trials


def test_a_gpu_that_is_lost_in_the_middle_ends_the_audit_and_keeps_what_is_done(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(monitor, "LOST_SECONDS", 0.3)

    def dying(sample, number):
        return None if (tmp_path / "audit.json").exists() else sample

    outcome = audit(tmp_path, FakeGpu(dying), rounds=9)
    assert "the GPU is gone" in outcome.stopped
    assert len(outcome.record.trials) == 1
    assert outcome.record.trials[0].outcome == "ok"
    assert load(tmp_path / "audit.json").trials == outcome.record.trials


def test_a_trial_that_hangs_on_a_lost_gpu_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "LOST_SECONDS", 0.2)
    monkeypatch.setattr(attempt, "trial_child", fake_gpu.hanging_child)
    began, seen = time.monotonic(), []

    def dying(sample, number):
        seen.extend(multiprocessing.active_children())
        return sample if len(seen) < 3 else None

    outcome = audit(tmp_path, FakeGpu(dying))
    assert time.monotonic() - began < 120  # the trial sleeps for longer
    (trial,) = (*outcome.record.trials, *outcome.record.discarded)[:1]
    assert trial.outcome == "crashed"
    assert trial.conditions.gpu.lost
    assert "the GPU is gone" in (outcome.stopped or "")


def test_a_process_that_outgrows_the_card_is_taken_again_with_what_it_took(tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "trial_child", fake_gpu.growing_child)
    outcome = audit(tmp_path, FakeGpu(), evidence="emulated")
    (spoilt,), (kept,) = outcome.record.discarded, outcome.record.trials
    assert "30.0 MiB more than the card has" in spoilt.conditions.disturbances[0]
    assert (kept.debit.counted_bytes, kept.debit.exceeded_bytes) == (650 * MIB, 0)
    assert outcome.record.budget.debit_bytes == 650 * MIB


def test_running_out_is_an_outcome_that_names_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "trial_child", fake_gpu.oom_child)
    (trial,) = audit(tmp_path, FakeGpu(), evidence="emulated").record.trials
    assert (trial.outcome, trial.message) == ("oom", "does not fit the budget of 8GB (card)")


def test_without_nvml_everything_runs_and_says_why_figures_are_missing(tmp_path):
    from ffprof.instruments.nvml import NvmlError

    outcome = audit(tmp_path, NvmlError("NVML cannot be loaded"))
    (trial,) = outcome.record.trials
    assert trial.outcome == "ok"
    assert trial.conditions.gpu is None
    assert trial.energy is None
    for name in ("process_peak_bytes", "device_peak_bytes"):
        assert getattr(trial.memory, name) is None
        assert "NVML cannot be loaded" in trial.memory.unread[name]


def test_one_audit_a_gpu(tmp_path):
    lock = GpuLock(UUID)
    assert lock.take() is None
    other = GpuLock(UUID)
    assert other.take() == f"process {os.getpid()}"
    with pytest.raises(DeviceError, match=f"another audit .process {os.getpid()}."):
        audit(tmp_path, FakeGpu())
    lock.release()
    assert audit(tmp_path, FakeGpu()).stopped is None
    assert GpuLock(UUID).take() is None  # it was given back


def test_going_on_repeats_no_run_without_a_limit(tmp_path, monkeypatch):
    first = audit(tmp_path, FakeGpu(), evidence="emulated", rounds=1).record
    more = first.model_copy(update={"plan": first.plan.model_copy(update={"rounds": 2})})

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(attempt, "memory_child", never)
    again = audit(tmp_path, FakeGpu(), evidence="emulated", begun=more).record
    assert len(again.trials) == 2
    assert again.ledger["bp"].uncapped == first.ledger["bp"].uncapped
