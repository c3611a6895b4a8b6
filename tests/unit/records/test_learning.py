"""The record of a learning study holds no contradiction, and is read back as it was written."""

import pytest
from pydantic import ValidationError
from studies import run, study

from ffprof import load
from ffprof.errors import RecordError
from ffprof.records.learning import LearningPlan, LearningRecord, Task, Training
from ffprof.records.search import Search, SearchTrial, SettingRange
from ffprof.records.store import load_frontier, load_learning, save


def test_it_is_read_back_as_it_was_written(tmp_path):
    record = study([run("bp", 0.9), run("ff", 0.8), run("ff", 0.7, seed=1, outcome="diverged")])
    path = tmp_path / "learning-digits.json"
    save(record, path)
    assert load(path) == load(tmp_path) == load_learning(path) == record
    with pytest.raises(RecordError, match="neither a frontier nor a search"):
        load_frontier(path)


def test_what_is_missing_follows_from_the_plan():
    record = study(
        [run("bp", 0.9), run("ff", 0.8, seed=1, outcome="unfinished")],
        workloads=("bp", "ff"),
        seeds=(0, 1),
    )
    assert [slot.id for slot in record.missing()] == ["t00-s0-ff", "t00-s1-bp", "t00-s1-ff"]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run("bp", 0.9), run("bp", 0.8)], "two runs have the same id"),
        ([run("bp", 0.9, task=1)], "a run that was not planned"),
        ([run("bp", 0.9, seed=9)], "a run that was not planned"),
    ],
)
def test_runs_that_contradict_the_plan_are_refused(runs, said):
    with pytest.raises(ValidationError, match=said):
        study(runs, seeds=(0,), workloads=("bp",), tasks=(Task(classes=10),))


def test_a_recipe_that_was_edited_is_refused():
    record = study([run("bp", 0.9)])
    document = record.model_dump()
    document["training"]["epochs"] = 99
    with pytest.raises(ValidationError, match="recipe_hash does not belong to the recipe"):
        type(record).model_validate(document)


def test_a_test_score_is_there_exactly_where_a_run_ended_well():
    good = run("bp", 0.9)
    for update, said in (
        ({"test": None}, "must hold its test score"),
        ({"outcome": "unfinished"}, "after the last epoch only"),
        ({"rules": ("read",)}, "lacks the rule 'read'"),
    ):
        with pytest.raises(ValidationError, match=said):
            type(good).model_validate(good.model_dump() | update)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 2, "warmup_epochs": 3}, "3 epochs of warm-up are more than 2"),
        ({"epochs": 2, "validation": 0.9}, "validation"),
        ({"epochs": 2, "target": 90}, "target"),
        ({"epochs": 2, "label_smoothing": 0.1}, "label_smoothing"),
        ({"epochs": 2, "schedule": "step"}, "schedule"),
    ],
)
def test_training_that_cannot_be_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        Training(**values)


def test_a_plan_holds_nothing_twice_and_not_too_much():
    one = {"workloads": ("a",), "seeds": (0,), "tasks": (Task(classes=2),)}
    LearningPlan(**one)
    for name, twice in (("workloads", ("a", "a")), ("seeds", (1, 1))):
        with pytest.raises(ValidationError, match=f"one of the {name} is planned twice"):
            LearningPlan(**one | {name: twice})
    with pytest.raises(ValidationError, match="runs are more than"):
        LearningPlan(**one | {"seeds": tuple(range(1000)), "workloads": tuple(map(str, range(11)))})


RANGE = SettingRange(name="learning_rate", low=1e-4, high=1e-2)


def search(*accuracies, workload="bp", seed=0, **changes):
    """A search whose trials have these accuracies; None: out of memory."""
    trials = tuple(
        SearchTrial(
            number=number,
            settings={"learning_rate": 1e-3 / (number + 1)},
            accuracy=accuracy,
            outcome="oom" if accuracy is None else "ok",
            seconds=1.0,
        )
        for number, accuracy in enumerate(accuracies)
    )
    found = Search(workload=workload, seed=seed, epochs=4, sampler="a sampler", ranges=(RANGE,))
    for trial in trials:
        found = found.with_trial(trial)
    return Search.model_validate(found.model_dump() | changes)


def test_a_tuned_study_is_read_back_as_it_was_written(tmp_path):
    tuned = run("bp", 0.9, settings={"learning_rate": 5e-4})
    record = study([tuned], tuning=3, searches=(search(0.5, 0.7, None),))
    save(record, tmp_path / "learning-digits.json")
    assert load(tmp_path) == record
    assert record.search("bp").settings == {"learning_rate": 5e-4}
    assert record.search("ff") is None
    assert record.missing_trials() == []


def test_missing_trials_are_in_rounds():
    record = study([], workloads=("bp", "ff"), seeds=(0,), tuning=3, searches=(search(0.5, 0.7),))
    assert record.missing_trials() == [(0, "ff"), (1, "ff"), (2, "bp"), (2, "ff")]


def test_a_record_from_before_tuning_has_none():
    record = study([run("bp", 0.9)])
    document = record.model_dump()
    del document["searches"], document["plan"]["tuning"], document["runs"][0]["settings"]
    old = LearningRecord.model_validate(document)
    assert old == record
    assert (old.searches, old.plan.tuning, old.runs[0].settings) == ((), 0, {})


@pytest.mark.parametrize(
    ("searches", "tuning", "said"),
    [
        ((search(0.5),), 0, "was not planned like this"),
        ((search(0.5, 0.6),), 1, "was not planned like this"),
        ((search(0.5, seed=9),), 1, "was not planned like this"),
        ((search(0.5), search(0.5)), 1, "tuned twice"),
        ((search(0.5), search(0.5, workload="ff")), 1, "was not planned"),
        ((search(0.5),), 2, "a run was trained before bp was tuned"),
        ((), 1, "a run was trained before bp was tuned"),
    ],
)
def test_searches_that_contradict_the_plan_are_refused(searches, tuning, said):
    with pytest.raises(ValidationError, match=said):
        study([run("bp", 0.9)], searches=searches, tuning=tuning)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"best": 0}, "trial 0 of bp is not its best"),
        ({"best": None}, "is not its best"),
        ({"trials": search(0.1, 0.2).trials[::-1]}, "trial 1 of bp stands at 0"),
        ({"ranges": (RANGE.model_copy(update={"name": "t"}),)}, "has other settings"),
        ({"ranges": ()}, "ranges"),
    ],
)
def test_searches_that_contradict_themselves_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        search(0.1, 0.2, **changes)


def test_trials_and_ranges_that_contradict_themselves_are_refused():
    good = search(0.5).trials[0].model_dump()
    for changes in ({"accuracy": None}, {"outcome": "oom"}):
        with pytest.raises(ValidationError, match="an accuracy exactly if its outcome is ok"):
            SearchTrial.model_validate(good | changes)
    for low, high, log in ((1.0, 1.0, True), (0.0, 1.0, True), (2.0, 1.0, False)):
        with pytest.raises(ValidationError, match="cannot be searched"):
            SettingRange(name="x", low=low, high=high, log=log)
