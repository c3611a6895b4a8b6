"""What the words of ``ffprof learn`` mean: seeds, tasks, sweeps, and the order of runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.errors import UsageError
from ffprof.experiments.learning.options import LearningOptions
from ffprof.experiments.learning.plan import parse_seeds
from ffprof.experiments.learning.request import plan_runs
from ffprof.experiments.learning.tasks import parse_tasks
from ffprof.experiments.options import Options
from ffprof.experiments.session import _first_recipe
from ffprof.records.learning import RunSlot, Teacher
from ffprof.workload import find_workload


def tasks(data="fashion-mnist", **options):
    return parse_tasks(LearningOptions(**options), data, 10, 5 if data == "fashion-mnist" else 0)


@pytest.mark.parametrize(
    ("words", "first", "expected"),
    [
        ("1", 0, (0,)),
        ("3", 0, (0, 1, 2)),
        ("2", 7, (7, 8)),
        ("4,1,9", 0, (4, 1, 9)),
        ("5,", 0, (5,)),
    ],
)
def test_seeds_are_a_number_or_a_list(words, first, expected):
    assert parse_seeds(words, first) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "no whole number"),
        ("x", "no whole number"),
        ("0", "1 to 1000 seeds"),
        ("-3", "1 to 1000 seeds"),
        ("1001", "1 to 1000 seeds"),
        ("1,2,1", "1 is there twice"),
        ("3,-1", "-1 is negative"),
        ("1,,2", "no whole number"),
    ],
)
def test_bad_seeds_are_one_line(words, said):
    with pytest.raises(UsageError, match=said):
        parse_seeds(words, 0)


def test_without_a_sweep_there_is_one_task_of_all_classes():
    swept, (task,) = tasks()
    assert (swept, task.classes, task.samples, task.teacher) == ("", 10, None, None)


def test_a_sweep_changes_one_thing():
    swept, found = tasks(sweep="classes=2,6,10", samples_per_class=50)
    assert swept == "classes"
    assert [task.classes for task in found] == [2, 6, 10]
    assert {task.samples_per_class for task in found} == {50}
    swept, found = tasks(sweep="samples=100,200", classes=4)
    assert [(task.classes, task.samples) for task in found] == [(4, 100), (4, 200)]
    swept, found = tasks(sweep="labels=coarse,fine")
    assert [(task.labels, task.classes) for task in found] == [("coarse", 5), ("fine", 10)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sweep": "classes"}, "write NAME=VALUE,VALUE"),
        ({"sweep": "depth=1,2"}, "write NAME=VALUE,VALUE"),
        ({"sweep": "classes=2,x"}, "no whole number"),
        ({"sweep": "classes=2,2"}, "a value is there twice"),
        ({"sweep": "classes=2,11"}, "--classes 11: fashion-mnist has 10 classes"),
        ({"sweep": "classes=1,2"}, "classes: .*greater than or equal to 2"),
        ({"sweep": "classes=2,4", "classes": 3}, "both say what classes is"),
        ({"sweep": "labels=fine,medium"}, "labels: "),
        ({"classes": 11}, "fashion-mnist has 10 classes"),
        ({"classes": 6, "labels": "coarse"}, "has 5 coarse classes; use at most 5"),
        ({"samples": 10, "samples_per_class": 5}, "both say how many images"),
        ({"drawn_by": 3}, "--drawn-by draws some of the classes, and all are used"),
        ({"drawn_by": 3, "data": "teacher"}, "a teacher makes its own"),
        ({"data": "synthetic"}, "nothing can be learned of it"),
        ({"data": "teacher", "unbalanced": True, "samples_per_class": 20}, "leaves it to the te"),
        ({"data": "teacher", "unbalanced": True, "sweep": "samples-per-class=9,20"}, "leaves it"),
        ({"target": 0.9, "validation": 0.0}, "--target is a validation accuracy"),
        ({"samples": 9}, "leaves some of 10 classes without an image"),
        ({"sweep": "labels=fine,coarse", "classes": 4}, "--classes chooses other images"),
        ({"sweep": "labels=fine,coarse", "samples_per_class": 4}, "--samples-per-class chooses"),
        ({"label_noise": 0.1}, "no teacher without --data teacher"),
        ({"unbalanced": True}, "no teacher without --data teacher"),
    ],
)
def test_tasks_that_cannot_be_are_one_line(options, said):
    with pytest.raises(UsageError, match=said) as raised:
        tasks(**options)
    assert len(str(raised.value).splitlines()) == 1


def test_data_without_groups_has_no_coarse_labels():
    with pytest.raises(UsageError, match="digits has no groups of classes; use fashion"):
        tasks(data="digits", labels="coarse")


def test_a_teachers_samples_are_its_own_and_its_classes_any_number():
    _, found = tasks(data="teacher", sweep="classes=5,80", samples=24_000, teacher_width=16)
    assert [task.classes for task in found] == [5, 80]
    assert {task.teacher for task in found} == {Teacher(samples=24_000, width=16)}
    assert {task.samples for task in found} == {None}
    _, found = tasks(data="teacher", sweep="samples=6000,24000", unbalanced=True)
    assert [task.teacher.samples for task in found] == [6000, 24_000]
    assert not found[0].teacher.balanced
    _, found = tasks(data="teacher", sweep="classes=5,80", samples_per_class=100)
    assert [task.teacher.samples for task in found] == [500, 8000]
    with pytest.raises(UsageError, match="both say how many"):
        tasks(data="teacher", samples=100, samples_per_class=10)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_runs_are_shuffled_within_each_seed(tasks_, seeds, workloads, seed):
    slots = [
        RunSlot(workload=f"w{w}", task=t, seed=s)
        for t in range(tasks_)
        for s in range(seeds)
        for w in range(workloads)
    ]
    order = plan_runs(slots, seed)
    assert sorted(one.id for one in order) == sorted(one.id for one in slots)
    assert [one.seed for one in order] == sorted(one.seed for one in order)
    assert order == plan_runs(slots, seed)


def test_what_suits_one_of_two_devices_is_not_refused_before_it_is_known_which_there_is():
    named = (find_workload("bp"),)
    device, recipe = _first_recipe(Options(device="auto", image_size=16), named, None)
    assert (device, recipe.backbone, recipe.image_size) == ("cpu", "vgg8", 16)
    assert _first_recipe(Options(device="auto"), named, None)[0] == "cuda"
    for device in ("auto", "cuda"):
        with pytest.raises(UsageError, match="vgg11 halves the image 5 times"):
            _first_recipe(Options(device=device, image_size=20), named, None)
