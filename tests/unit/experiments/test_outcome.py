from dataclasses import replace

import pytest
from records import recipe, record

from ffprof.experiments.outcome import trial_from
from ffprof.experiments.request import Slot
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Failed, Finished, Report, TrialStart
from ffprof.harness.process.monitor import Watching
from ffprof.records.audit import Conditions, Debit, LedgerRow, Loss, Memory, Throughput
from ffprof.workload import find_workload

SLOT = Slot(round=1, position=2, workload="bp")
FACTS = {"threads": 1}
REPORT = Report(
    memory=Memory(live_tensor_peak_bytes=5),
    throughput=Throughput(images_per_second=8.0, step_seconds=(1.0,), data_wait_seconds=0.0),
    loss=Loss(first=2.0, last=1.0, finite=True, steps=3),
    conditions=Conditions(threads=1),
    facts=FACTS,
)

STARTED = TrialStart(gpu_uuid=None)


def made(ending, facts=None, watching=None):
    base = record([], workloads=("bp",), rounds=2, **recipe().model_dump(exclude={"preset"}))
    if facts:
        base = base.model_copy(update={"ledger": {"other": LedgerRow(facts=facts)}})
    return trial_from(ending, SLOT, find_workload("bp"), base, "cpu", watching, "forkserver")


def test_a_finished_child_is_ok_and_its_facts_are_kept():
    done = Ending(
        kind="ended", messages=(TrialStart(gpu_uuid=None), Finished(report=REPORT)), seconds=3
    )
    result = made(done)
    assert result.trial.outcome == "ok"
    assert result.facts == FACTS
    assert (result.trial.id, result.trial.round, result.trial.position) == ("r01-p02-bp", 1, 2)
    assert result.trial.conditions.wall_seconds == 3
    assert result.trial.memory.unread["process_peak_bytes"] == "not a GPU"


def test_a_child_that_answered_and_then_crashed_on_exit_still_measured():
    done = Ending(kind="crashed", messages=(Finished(report=REPORT),), reason="killed by SIGABRT")
    assert made(done).trial.outcome == "ok"


@pytest.mark.parametrize(
    ("ending", "outcome", "message"),
    [
        (Ending(kind="timeout", messages=(), reason="stopped"), "timeout", "stopped"),
        (Ending(kind="crashed", messages=(), reason="killed by SIGKILL"), "crashed", "SIGKILL"),
        (Ending(kind="ended", messages=(Failed(outcome="oom", message="m"),)), "oom", "m"),
        (Ending(kind="ended", messages=(Failed(outcome="refused", message="m"),)), "refused", "m"),
        (Ending(kind="ended", messages=(), reason="why"), "crashed", "why"),
        (
            Ending(kind="ended", messages=(TrialStart(gpu_uuid=None),)),
            "crashed",
            "without an answer",
        ),
    ],
)
def test_every_ending_is_an_outcome_with_a_reason(ending, outcome, message):
    result = made(ending)
    assert result.trial.outcome == outcome
    assert message in result.trial.message
    assert result.facts == {}
    assert result.trial.memory.live_tensor_peak_bytes is None
    assert result.trial.memory.unread["live_tensor_peak_bytes"]


def test_a_row_that_does_not_match_the_others_is_refused():
    done = Ending(kind="ended", messages=(Finished(report=REPORT),))
    result = made(done, facts={"threads": 8})
    assert result.trial.outcome == "refused"
    assert "threads" in result.trial.message


def test_endless_messages_are_cut():
    ending = Ending(kind="crashed", messages=(), reason="x" * 100_000)
    assert len(made(ending).trial.message) <= 1000


def test_without_a_gpu_there_is_a_reason_and_no_conditions():
    watching = Watching()
    watching.on_message(1, TrialStart(gpu_uuid=None))
    watching.take()
    done = Ending(kind="ended", messages=(Finished(report=REPORT),))
    trial = made(done, watching=watching).trial
    assert trial.memory.device_peak_bytes is None
    assert trial.memory.unread["device_peak_bytes"] == "not a GPU"
    assert (trial.energy, trial.debit, trial.conditions.gpu) == (None, None, None)


def test_a_process_beyond_the_card_is_a_disturbance():
    debit = Debit(context_bytes=5, source="NVML, this process", exceeded_bytes=3 * 2**20)
    done = Ending(kind="ended", messages=(Finished(report=REPORT, debit=debit),))
    trial = made(done).trial
    assert trial.debit == debit
    assert trial.conditions.disturbances == ("the process took 3.00 MiB more than the card has",)


def test_operators_are_kept_where_facts_are():
    counts = {"aten::mm": 3}
    report = replace(REPORT, operators=counts)
    ok = Ending(kind="ended", messages=(Finished(report=report),))
    assert made(ok).operators == counts
    oom = Ending(kind="ended", messages=(Failed(outcome="oom", message="m", report=report),))
    assert made(oom).operators == counts
    assert made(ok, facts={"threads": 2}).operators == {}
    assert made(Ending(kind="timeout", messages=(), reason="late")).operators == {}
