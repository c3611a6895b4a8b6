"""Searches for settings: equal budgets, the default first, resumed as if never interrupted."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
from studies import study

from ffprof.errors import UsageError
from ffprof.experiments.learning import search as module
from ffprof.experiments.learning.recorder import LearningRecorder
from ffprof.experiments.learning.request import recipe_for
from ffprof.experiments.learning.search import (
    LEARNING_RATES,
    Tuner,
    check_optuna,
    proposal,
    ranges_for,
)
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Diverged, EpochDone, Failed, Validated
from ffprof.records.learning import Epoch, RunSlot, Score
from ffprof.records.recipe import Optimizer
from ffprof.records.search import SearchTrial, best_trial
from ffprof.records.store import load_learning
from ffprof.report.learning import learning_document
from ffprof.workload import find_workload

NAMES = ("bp", "dtg-ff", "hinton-ff")


class Interrupted(Exception):
    pass


class Trainer:
    """In the place of processes: an accuracy that depends on the settings alone."""

    def __init__(self, stop_after=None):
        self.assignments, self._stop_after = [], stop_after

    def each(self, work, pieces):
        for piece in pieces:
            work(piece)

    def train(self, description, assignment, tell):
        if len(self.assignments) == self._stop_after:
            raise Interrupted
        self.assignments.append((description.id, assignment))
        return self.ending(description, assignment), None

    def ending(self, description, assignment):
        distance = abs(math.log10(assignment.recipe.optimizer.lr) + 2.3)
        for one in description.tuned(assignment.settings).settings:
            distance += abs(math.log10(one.default / one.low)) / 10
        score = Score(images=100, accuracy={"read": round(math.exp(-distance), 2)})
        return Ending(kind="ended", messages=(Validated(score=score),), seconds=1.0)

    def left(self):
        return None

    def show(self, *words):
        pass


def begun(tmp_path, tuning, names=NAMES):
    record = study([], workloads=names, seeds=(3, 4), tuning=tuning)
    return record, tmp_path / "learning-digits.json"


def tune(record, path, trainer):
    request = SimpleNamespace(
        record=record, path=path, workloads=tuple(map(find_workload, record.plan.workloads))
    )
    recorder = LearningRecorder(request)
    campaign = SimpleNamespace(
        admit=lambda: None, progress=SimpleNamespace(ends=lambda line, left: None)
    )
    Tuner(campaign, recorder, trainer).run()
    return recorder.record


def epoch(number):
    return Epoch(
        number=number, images=100, learning_rate=1e-3, loss=1.0, seconds=1.0, data_seconds=0.1
    )


def test_every_reading_of_the_test_set_is_counted(tmp_path):
    """It follows the last epoch, again where a run was stopped while it was tested."""
    record, path = begun(tmp_path, 0)
    request = SimpleNamespace(
        record=record, path=path, device="cpu",
        workloads=tuple(map(find_workload, record.plan.workloads)),
    )  # fmt: skip
    recorder, slot = LearningRecorder(request), record.slots()[0]
    reads = []
    for number in range(1, record.training.epochs + 1):
        recorder.epochs(slot, EpochDone(epochs=(epoch(number),)), 0)
        reads.append(recorder.run(slot).test_reads)
    assert reads == [0] * (record.training.epochs - 1) + [1]
    early = tuple(epoch(number) for number in range(1, record.training.epochs))
    recorder.epochs(slot, EpochDone(epochs=early, restored=True), 0)
    assert recorder.run(slot).test_reads == 1
    whole = (*early, epoch(record.training.epochs))
    recorder.epochs(slot, EpochDone(epochs=whole, restored=True), 0)
    assert recorder.run(slot).test_reads == 2
    blocks = learning_document(load_learning(path)).blocks
    notes = [line for block in blocks for line in block.lines]
    assert f"{slot.id} was stopped while it was tested: its test set was read 2 times" in notes


def test_every_workload_has_the_same_budget_at_any_time(tmp_path):
    record, path = begun(tmp_path, 6)
    trainer = Trainer()
    found = tune(record, path, trainer)
    assert [len(one.trials) for one in found.searches] == [6, 6, 6]
    assert found.missing_trials() == []
    order = [name for name, _ in trainer.assignments]
    for end in range(len(order)):
        counts = Counter(order[:end])
        assert max(counts.values(), default=0) - min(counts[name] for name in NAMES) <= 1
    assert len({tuple(order[at : at + 3]) for at in range(0, 18, 3)}) > 1  # shuffled
    assert load_learning(path) == found


def test_trials_are_of_the_first_seed_keep_nothing_and_begin_with_the_defaults(tmp_path):
    record, path = begun(tmp_path, 2)
    trainer = Trainer()
    found = tune(record, path, trainer)
    assert {one.recipe.seed for _, one in trainer.assignments} == {3}
    assert {one.checkpoint for _, one in trainer.assignments} == {None}
    optimizer = record.recipe.optimizer
    for search in found.searches:
        own = {one.name: one.default for one in find_workload(search.workload).settings}
        shared = {"learning_rate": optimizer.lr, "weight_decay": optimizer.weight_decay}
        assert search.trials[0].settings == shared | own
        assert {one.name for one in search.ranges} == search.trials[1].settings.keys()
        for one in search.ranges:
            assert one.low <= search.trials[1].settings[one.name] <= one.high


@pytest.mark.parametrize("stop_after", [1, 35])
def test_a_resumed_search_ends_as_one_that_was_not_interrupted(tmp_path, stop_after):
    record, path = begun(tmp_path, 13)  # beyond the random ones
    whole = tune(record, path, Trainer())
    record, path = begun(tmp_path / "cut", 13)
    path.parent.mkdir()
    with pytest.raises(Interrupted):
        tune(record, path, Trainer(stop_after))
    again = Trainer()
    assert tune(load_learning(path), path, again).searches == whole.searches
    assert len(again.assignments) == 39 - stop_after


def test_a_trial_that_does_not_end_well_is_used_up(tmp_path):
    class Failing(Trainer):
        def ending(self, description, assignment):
            if description.id == "bp":
                return Ending(kind="ended", messages=(Diverged(message="in conv"),), seconds=2.0)
            if description.id == "dtg-ff" and len(self.assignments) > 3:
                failed = Failed(outcome="oom", message="too\nlarge")
                return Ending(kind="ended", messages=(failed,), seconds=2.0)
            return super().ending(description, assignment)

    record, path = begun(tmp_path, 4)
    found = tune(record, path, Failing())
    bp, dtg, hinton = found.searches
    assert [one.outcome for one in bp.trials] == ["diverged"] * 4
    assert (bp.best, bp.settings, bp.trials[0].message) == (None, {}, "in conv")
    assert [one.outcome for one in dtg.trials] == ["ok", "oom", "oom", "oom"]
    assert dtg.best == 0
    assert len(hinton.trials) == 4
    # Without a trial that ended well, the defaults are used.
    assert recipe_for(found, RunSlot(workload="bp", task=0, seed=4)).optimizer == (
        record.recipe.optimizer
    )


def test_runs_have_the_best_settings_and_their_own_seed(tmp_path):
    record, path = begun(tmp_path, 5)
    found = tune(record, path, Trainer())
    search = found.search("bp")
    assert search.best
    made = recipe_for(found, RunSlot(workload="bp", task=0, seed=4))
    assert made.seed == 4
    assert made.optimizer.lr == search.settings["learning_rate"]
    assert made.optimizer.weight_decay == search.settings["weight_decay"]
    assert made.model_copy(update={"seed": 0, "optimizer": record.recipe.optimizer}) == (
        record.recipe.model_copy(update={"classes": 10})
    )


def trial(number, accuracy, outcome="ok"):
    return SearchTrial(
        number=number, settings={"x": 1.0}, accuracy=accuracy, outcome=outcome, seconds=1.0
    )


def test_ties_are_broken_by_the_earlier_trial():
    assert best_trial([]) is None
    assert best_trial([trial(0, None, "oom")]) is None
    assert best_trial([trial(0, 0.5), trial(1, 0.7), trial(2, 0.7), trial(3, 0.6)]) == 1
    assert best_trial([trial(0, 0.0), trial(1, 0.0)]) == 0


def test_random_trials_have_the_same_learning_rates_for_all_workloads(tmp_path):
    found = tune(*begun(tmp_path, 10), Trainer())
    shared = [
        [(one.settings["learning_rate"], one.settings["weight_decay"]) for one in search.trials]
        for search in found.searches
    ]
    assert shared[0] == shared[1] == shared[2]
    assert len(set(shared[0])) == 10


def test_it_finds_better_settings_than_random_ones(tmp_path):
    found = tune(*begun(tmp_path, 40, ("hinton-ff",)), Trainer())
    trials = found.search("hinton-ff").trials
    first, rest = trials[:10], trials[10:]
    assert sum(t.accuracy for t in rest) / 30 > 1.2 * sum(t.accuracy for t in first) / 10


def test_a_default_outside_of_the_range_is_tried_and_does_not_stop_the_search(tmp_path):
    ranges = ranges_for(find_workload("bp"), Optimizer())
    odd = SearchTrial(
        number=0, settings={"learning_rate": 5.0, "weight_decay": 0.0}, accuracy=0.1,
        outcome="ok", seconds=1.0,
    )  # fmt: skip
    found = proposal(ranges, [odd], 0)
    assert found == proposal(ranges, [odd], 0) != proposal(ranges, [odd], 1)
    assert 1e-4 <= found["learning_rate"] <= 2e-2


def test_the_range_of_learning_rates_is_the_optimizers():
    for name, (low, high) in LEARNING_RATES.items():
        rate = ranges_for(find_workload("bp"), Optimizer(name=name))[0]
        assert (rate.name, rate.low, rate.high, rate.log) == ("learning_rate", low, high, True)


def test_without_optuna_it_is_one_line(monkeypatch):
    check_optuna()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--tune needs optuna; pip install 'ffprof\[tune\]'"):
        check_optuna()
