"""What ``ffprof frontier`` refuses before it measures, and what it estimates and draws."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from command import ffprof
from matplotlib.figure import Figure
from point_states import point, run, settled
from records import MIB, record, trial
from rich.console import Console

from ffprof.cli.output.progress import QuietProgress
from ffprof.experiments.attempt import Attempts, Debits, Retakes
from ffprof.experiments.campaign import Campaign
from ffprof.experiments.options import BudgetChoice
from ffprof.experiments.request import Slot
from ffprof.experiments.terms import target_here
from ffprof.hardware.budget import budget_for
from ffprof.hardware.machine import Probe
from ffprof.harness.process.child import Ending
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Failed, Probed
from ffprof.harness.process.monitor import Watching
from ffprof.records.audit import Budget, Debit, Machine, Memory
from ffprof.report.exporters.plots import can_be_drawn, draw_frontier, limit_words
from ffprof.workload import find_workload


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "cpu", "--gpu-mem", "8GB"], "--gpu-mem is a budget of a GPU"),
        (["--device", "cpu", "--card", "RTX 4060"], "--card is a budget of a GPU"),
        (["--device", "estimate", "--all-points"], "--all-points is about trials"),
        (["--device", "estimate", "--rounds", "3"], "--rounds is about trials"),
        (["--plot", "x.gif"], "unknown format"),
        (["--plot", "no-such-folder/x.png"], "cannot be written"),
    ],
)
def test_what_cannot_be_meant_is_one_line_before_anything_is_done(tmp_path, words, said):
    done = ffprof("frontier", "--preset", "smoke", "--out", tmp_path / "out", *words)
    assert done.returncode in (2, 4)
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def setup_of(found, asked):
    return SimpleNamespace(session=SimpleNamespace(found=found), budget=asked)


def test_libraries_are_those_of_a_gpu_without_a_profile_and_the_budget_is_the_cards():
    asked = BudgetChoice(budget=budget_for("8GB"), card=None, named=False, own=())
    found = Probe(
        cuda=True, gpu="NVIDIA Unknown 9000", gpu_total_bytes=90 * 1024 * MIB, capability=(9, 0)
    )
    machine = Machine(
        platform="L", cpu="C", cpu_count=1, ram_bytes=1, gpu=found.gpu,
        gpu_total_bytes=found.gpu_total_bytes, versions={},
    )  # fmt: skip
    held = Budget(requested="8GB", card="A card", total_bytes=8000 * MIB)
    held_record = SimpleNamespace(evidence="emulated", budget=held, machine=machine)
    target = target_here(held_record, setup_of(found, asked))
    assert target.capability == (9, 0)
    assert target.total_bytes == 8000 * MIB
    unknown = setup_of(replace(found, capability=None), asked)
    assert target_here(held_record, unknown).capability != (9, 0)


def attempts(debits=()):
    context = SimpleNamespace(get_start_method=lambda: "fork")
    campaign = Campaign(QuietProgress(Console(quiet=True)), Guard(None))
    return Attempts(
        campaign=campaign, context=context, device="cuda", retakes=Retakes(0),
        debits=Debits(debits),
    )  # fmt: skip


DEBIT = Debit(context_bytes=300 * MIB, step_bytes=700 * MIB, source="NVML, this process")


@pytest.fixture
def ran(monkeypatch):
    """What is run: holds of runs without a limit, and of trials, in their order."""
    found = []

    def look(context, description, recipe, hold, limit, guard=None):
        found.append(hold)
        return Ending(kind="ended", messages=(Probed(memory=Memory(), debit=DEBIT),)), Watching()

    def take(context, description, recipe, device, limit, *, hold, guard):
        found.append(hold)
        failed = Failed(outcome="oom", message="no", debit=DEBIT)
        return Ending(kind="ended", messages=(failed,)), Watching()

    monkeypatch.setattr("ffprof.experiments.attempt.probe", look)
    monkeypatch.setattr("ffprof.experiments.attempt.take", take)
    return found


def measured(some, number=0, evidence="emulated"):
    made = record([trial("bp", 0)], batch=32, micro_batch=8, judged=False).model_copy(
        update={
            "trials": (), "evidence": evidence, "ledger": {},
            "budget": Budget(requested="8GB", card="A card", total_bytes=8000 * MIB),
        }
    )  # fmt: skip
    slot = Slot(round=number, position=0, workload="bp")
    some.settled(find_workload("bp"), slot, made, 60.0, lambda trial: None)


def test_what_a_workload_takes_is_seen_before_its_first_emulated_trial(ran):
    some = attempts()
    measured(some)
    measured(some, 1)
    assert [hold.limited for hold in ran] == [False, True, True]  # once a workload
    assert [hold.counted_bytes for hold in ran[1:]] == [700 * MIB] * 2


@pytest.mark.parametrize(("debits", "evidence"), [({}, "measured"), ({"bp": MIB}, "emulated")])
def test_it_is_not_asked_where_it_is_known_or_the_card_is_its_own_limit(ran, debits, evidence):
    measured(attempts(debits), evidence=evidence)
    assert len(ran) == 1


@pytest.fixture
def drawn(monkeypatch):
    """The figure that was saved last."""
    kept = []
    saved = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (kept.append(self), saved(self, *a, **k))[1]
    )
    return kept


def test_the_line_of_the_budget_is_named_by_what_it_is(tmp_path, drawn):
    budget = Budget(
        requested="8GB", card="A card", total_bytes=400 * MIB, debit_bytes=100 * MIB,
        limit_bytes=268 * MIB,
    )  # fmt: skip
    one = settled(point(8, run(0, 80.0)), point(16, run(0, 160.0, memory=200)))
    one = one.model_copy(update={"budget": budget})
    draw_frontier(one, tmp_path / "x.png")
    told = [text.get_text() for legend in drawn[0].legends for text in legend.get_texts()]
    assert limit_words(one) in told
    assert limit_words(one) == (
        "limit for tensors under the budget (8GB, A card): 268 MiB, context and libraries taken off"
    )
    (panel,) = drawn[0].axes
    line = next(line for line in panel.lines if line.get_label() == limit_words(one))
    assert set(line.get_ydata()) == {268.0}
    assert "small: not on it, hollow if not measured" in panel.get_xlabel()
    assert panel.get_ylabel() == "allocated peak, steady, MiB"


def test_there_is_something_to_draw_only_where_a_point_has_a_place():
    assert can_be_drawn(settled(point(8, run(0))))
    nothing = point(8).model_copy(update={"guess": None})
    assert not can_be_drawn(settled(nothing))
