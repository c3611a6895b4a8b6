"""The shipped paper: its commands are commands, its figures those that its questions ask for."""

import pytest

from ffprof.cli.main import main
from ffprof.experiments.paper.forecast import asked_of
from ffprof.records.statement import Accuracy, Command, Lead
from ffprof.workload import find_workload
from workloads.paper import PAPER

COMMANDS = {str(c): c for s in PAPER.statements for c in (*s.commands, *s.small)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_parsed(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split()[1:], "--format", "nonsense"])  # the last that is read
    assert "'nonsense' is not one of" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS.values(), ids=str)
def test_every_command_has_steps_to_be_forecast(command):
    asked = asked_of(command)
    assert asked
    assert all(one.steps > 0 for one in asked)


def test_steps_are_those_of_all_seeds_tasks_and_epochs():
    (command,) = [c for text, c in COMMANDS.items() if "--data cifar10 " in text]
    # 5 seeds, 100 epochs of 45,000 images in batches of 128.
    assert [one.steps for one in asked_of(command)] == [5 * 100 * 45_000 / 128] * 3
    (command,) = [
        c
        for text, c in COMMANDS.items()
        if "classes=10,20,50,100" in text and "cifar" in text and "teacher" not in text
    ]
    assert asked_of(command)[0].steps == pytest.approx(5 * 100 * 45_000 * 1.8 / 128)


def test_figures_are_those_of_the_questions():
    for one in PAPER.statements:
        if isinstance(one.question, Accuracy):
            assert f"{one.question.percent:g}" in one.figure
        if isinstance(one.question, Lead):
            assert float(one.figure) == one.question.points


def test_workloads_of_the_questions_are_registered():
    for one in PAPER.statements:
        for field in ("workload", "baseline", "ahead", "behind"):
            name = getattr(one.question, field, None)
            assert name is None or find_workload(name).id == name


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({"data": "fashion-mnist"}, 60_000 * 0.9),
        ({"data": "fashion-mnist", "samples": 5000}, 5000),
        ({"data": "fashion-mnist", "classes": 4, "samples_per_class": 500}, 2000),
        ({"data": "teacher", "samples": 24_000}, 24_000),
    ],
)
def test_a_forecast_counts_the_images_that_train(options, images):
    more = {"preset": "small", "workloads": "bp", "epochs": 3, "seeds": "2"}
    (one,) = asked_of(Command(verb="learn", options={**more, **options}))
    assert one.steps == pytest.approx(images / one.recipe.batch * 3 * 2)
