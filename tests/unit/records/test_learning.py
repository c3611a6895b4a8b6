"""The record of a learning study holds no contradiction, and is read back as it was written."""

import pytest
from pydantic import ValidationError
from studies import run, study

from ffprof import load
from ffprof.errors import RecordError
from ffprof.records.learning import LearningPlan, Task, Training
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
