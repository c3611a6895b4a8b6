"""A short run in a real process, whatever its child does."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from records import record, trial

from ffprof.experiments.attempt import Retakes
from ffprof.experiments.capacity.probe import CardProbe
from ffprof.experiments.capacity.search import Search
from ffprof.experiments.outcome import trial_from
from ffprof.experiments.request import Slot
from ffprof.harness.process.child import Ending
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Failed, Probed, TrialStart
from ffprof.harness.process.monitor import Watching
from ffprof.records.audit import Budget, Debit, Memory
from ffprof.records.frontier import Tried
from ffprof.workload import find_preset, find_workload

RECIPE = find_preset("smoke").recipe
MIB = 2**20


def child(sender, workload, recipe, held):
    hold = held.words.removeprefix("GPU")
    sender.send(TrialStart(gpu_uuid=None))
    if hold == "hangs":
        time.sleep(60)
    if hold == "dies":
        os._exit(7)
    if hold == "leaves":
        return
    if hold == "oom":
        sender.send(Failed(outcome="oom", message="CUDA out of\nmemory"))
        return
    if hold.startswith("others"):
        _, times, count = hold.split()
        runs = Path(count)
        runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
        if len(runs.read_text()) <= int(times):
            sender.send(Failed(outcome="oom", message="something else is on it", others=True))
            return
    beyond = 3 * MIB if hold == "beyond" else 0
    sender.send(
        Probed(
            memory=Memory(reserved_peak_bytes=100 * MIB, cold_reserved_peak_bytes=120 * MIB),
            debit=Debit(
                context_bytes=300 * MIB,
                step_bytes=400 * MIB,
                source="NVML, this process",
                exceeded_bytes=beyond,
            ),
        )
    )
    if hold == "dies after it":
        os._exit(7)


def run(hold, limit=30.0, workload="bp-accum"):
    probe = CardProbe(
        context=multiprocessing.get_context("fork"),
        child=child,
        budget=Budget(total_bytes=1000 * MIB, requested=f"GPU{hold}"),
        evidence="emulated",
        guard=Guard(None),
    )
    return probe(find_workload(workload), RECIPE, limit)


def test_a_run_that_fits_says_what_it_took():
    found = run("")
    assert (found.outcome, found.evidence, found.size) == ("ok", "emulated", 8)
    assert found.reserved_bytes == 120 * MIB  # its first steps must fit, too
    assert found.process_bytes == 520 * MIB
    assert run("", workload="bp").size == 32


@pytest.mark.parametrize(
    ("hold", "outcome", "said"),
    [
        ("oom", "oom", "CUDA out of memory"),
        ("dies", "crashed", "exit status 7"),
        ("leaves", "crashed", "without an answer"),
        ("beyond", "oom", "it ran, with 3.00 MiB more than the card has"),
        ("dies after it", "ok", ""),
    ],
)
def test_every_ending_is_an_outcome(hold, outcome, said):
    found = run(hold)
    assert found.outcome == outcome
    assert said in found.message and "\n" not in found.message
    assert (found.reserved_bytes is None) == (hold in ("oom", "dies", "leaves"))


@pytest.mark.parametrize(("times", "outcome", "runs"), [(1, "ok", 2), (2, "crashed", 2)])
def test_memory_that_others_took_says_nothing_of_the_workload(tmp_path, times, outcome, runs):
    count = tmp_path / "runs"
    found = run(f"others {times} {count}")
    assert (found.outcome, len(count.read_text())) == (outcome, runs)
    assert (found.message == "others are on the GPU: something else is on it") == (times == 2)


class Strangers(Watching):
    def strangers(self):
        return ("python (4711) 3.00 GiB",)


@pytest.mark.parametrize(
    ("source", "limit", "outcome"),
    [
        # The process reached its own limit, told apart from others: they changed nothing.
        ("NVML, this process", 100, "oom"),
        ("free memory of the device", 100, "crashed"),
        ("NVML, this process", None, "crashed"),
    ],
)
def test_a_run_beside_others_fails_by_itself_only_at_its_own_limit(
    monkeypatch, source, limit, outcome
):
    def ended(*_, **__):
        debit = Debit(context_bytes=1, source=source, limit_bytes=limit)
        failed = Failed(outcome="oom", message="too large", debit=debit)
        return Ending(kind="ended", messages=(failed,)), Strangers()

    monkeypatch.setattr("ffprof.experiments.capacity.probe.probe", ended)
    found = run("")
    assert found.outcome == outcome
    assert ("4711" in found.message) == (outcome == "crashed")


def test_a_search_that_others_disturb_ends_unproven():
    def probe(size):
        ok = size < 9
        told = "" if ok else "others are on the GPU: something else is on it"
        return Tried(
            size=size, outcome="ok" if ok else "crashed", evidence="emulated", message=told
        )

    found = Search(probe, proposal=8, cap=100).run()
    assert (found.largest, found.first_failing, found.proven) == (8, None, False)
    assert "others are on the GPU" in found.message


@pytest.mark.parametrize("others", [True, False])
def test_a_trial_that_others_kept_from_memory_is_no_size_that_does_not_fit(others):
    record_ = record([trial("bp", 0)], judged=False)
    record_ = record_.model_copy(update={"evidence": "emulated"})
    ending = Ending(
        kind="ended", messages=(Failed(outcome="oom", message="no room", others=others),)
    )
    slot = Slot(round=0, position=0, workload="bp")
    found = trial_from(ending, slot, find_workload("bp"), record_, "cuda").trial
    assert found.outcome == ("crashed" if others else "oom")
    assert found.message == ("others are on the GPU: no room" if others else "no room")
    assert Retakes(10).wanted(found) == others


def test_a_run_is_stopped_at_its_limit():
    started = time.monotonic()
    found = run("hangs", limit=0.5)
    assert found.outcome == "timeout" and "0.5 s" in found.message
    assert time.monotonic() - started < 50  # and does not sleep to its end
