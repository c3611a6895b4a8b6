"""The report and the plots of learning studies."""

import io
import json
import re
from pathlib import Path

import pytest
from matplotlib.image import imread
from records import record as audit
from records import trial
from rich.console import Console
from studies import energy, of_percents, run, score, study, sweep

from ffprof.analysis.statistics.differences import Mean
from ffprof.errors import FfprofError, StoreError, UsageError
from ffprof.records.learning import LearningRecord, Task
from ffprof.records.search import Search, SearchTrial, SettingRange
from ffprof.records.store import load_any, save
from ffprof.report.exporters import html, learning_plots, markdown, text
from ffprof.report.exporters.learning_plots import PLOTS, draw_learning
from ffprof.report.exporters.terminal import print_document
from ffprof.report.kinds import document_of, json_of
from ffprof.report.learning import learning_document, percent

SWEEP = sweep(
    {"a": [95.0, 90.0, 80.0, 70.0, 60.0], "b": [95.0, 88.0, 77.0, 65.0, 54.0]},
    [5, 10, 20, 50, 100], noise=0.1,
)  # fmt: skip
PLAIN = of_percents({"a": 71.2, "b": 69.9, "c": 71.9}, noise=0.1)


def broken():
    """Runs that are missing, unfinished, diverged, refused and out of memory."""
    runs = [
        run("a", 0.7, energy=energy(5000.0), beside=1),
        run("a", 0.71, seed=1),
        run("b", 0.1, outcome="diverged"),
        run("b", 0.1, seed=1, outcome="oom"),
        run("c", 0.1, outcome="refused", epochs=0),
        run("d", 0.3, outcome="unfinished"),
    ]
    return study(runs, workloads=("a", "b", "c", "d", "e"), seeds=(0, 1))


def shown(record, width=80, **more):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_document(learning_document(record, **more), console)
    return console.file.getvalue()


def test_the_answer_is_on_the_first_screen():
    lines = shown(PLAIN).splitlines()
    assert max(map(len, lines)) <= 80
    table = next(at for at, line in enumerate(lines) if line.startswith("workload"))
    assert lines[table].split("  ")[0] == "workload"
    assert "less a" in lines[table]
    assert [line.split()[0] for line in lines[table + 1 : table + 4]] == ["c", "a", "b"]
    assert "worse" in lines[table + 3]
    assert next(at for at, line in enumerate(lines) if "b reads" in line) < 24


def ended(record, **more):
    """What stands below the last section."""
    return shown(record, **more).rstrip().split("\n\n")[-1].splitlines()


def test_it_ends_with_what_it_comes_to():
    best, worse, better = ended(PLAIN)
    assert re.fullmatch(r"best: c, 71\.\d\d ± 0\.\d\d % on the test set", best)
    assert re.fullmatch(r"b reads 1\.\d\d points less than a: worse", worse)
    assert re.fullmatch(r"c reads 0\.\d\d points more than a: better", better)
    alike = of_percents({"a": 71.2, "b": 71.2, "c": 71.2}, noise=2.0)
    assert ended(alike)[-1] == "against a, inconclusive: b, c"
    assert ended(SWEEP)[0].startswith("the gap of b to a widens by ")
    assert ended(SWEEP)[0].endswith(" points per doubling of K")
    assert ended(broken())[0] == "not finished: 5 of 10 runs are missing"
    samples = study(
        [run(n, a, task=t, seed=s) for n, a in (("a", 0.7), ("b", 0.6))
         for t in range(2) for s in range(3)],
        tasks=(Task(classes=10, samples=100), Task(classes=10, samples=200)), swept="samples",
    )  # fmt: skip
    assert ended(samples) == ["b against a, of 2 tasks: worse in 2"]


def test_rules_losses_and_energy_are_for_wide_terminals():
    tested = score(0.7, coarse=0.8, others={"sum": 0.65})
    runs = [run("a", 0.7, seed=s, test=tested, energy=energy(8000.0)) for s in range(3)]
    assert "by sum" not in shown(study(runs))
    wide = shown(study(runs), 200)
    for word in ("by sum", "coarse %", "loss", "J/img", "8,000", "3/3"):
        assert word in wide


def test_a_sweep_has_a_column_a_value_and_gaps_before_all_differences():
    told = shown(SWEEP)
    lines = told.splitlines()
    table = next(line for line in lines if line.startswith("workload"))
    assert table.split() == ["workload", "5", "10", "20", "50", "100"]
    assert told.index("The gap over log2 K") < told.index("\nAccuracy\n")
    assert told.index("\nAccuracy\n") < told.index("What it took") < told.index("Every difference")
    assert "the gap of b to a widens by" in told.replace("\n  ", "")
    assert (
        "b against a: worse at 10, 20, 50 and 100" in " ".join(told.split()) or "worse at" in told
    )
    assert max(map(len, lines)) <= 80


def test_few_values_have_their_intervals_in_the_table():
    few = sweep({"a": [95.0, 90.0], "b": [94.0, 88.0]}, [5, 10], noise=0.1)
    assert "±" in shown(few).split("test accuracy")[0]
    assert "±" not in shown(SWEEP).split("test accuracy")[0]
    assert "intervals are at most ±" in " ".join(shown(SWEEP).split())


def test_what_is_missing_and_how_to_go_on():
    told = " ".join(shown(broken(), path=Path("a folder/learning-x.json")).split())
    assert "Not finished: 5 of 10 runs are missing" in told
    assert "ffprof learn --resume 'a folder/learning-x.json'" in told
    assert "--resume" not in shown(broken())
    assert "Not finished" not in shown(PLAIN)


def test_what_failed_is_told_with_its_message():
    told = shown(broken())
    for line in (
        "b, seed 0: diverged: diverged, and why",
        "b, seed 1: oom: oom, and why",
        "c, seed 0: refused: refused, and why",
    ):
        assert f" - {line}" in told
    assert "d, seed" not in told


def test_times_of_a_shared_machine_are_marked():
    told = shown(broken())
    row = next(line for line in told.splitlines() if line.startswith("a "))
    assert row.count("*") == 2
    assert "* other runs had the machine" in " ".join(told.split())
    assert "*" not in shown(PLAIN)


def test_the_target():
    record = study([run("a", 0.8), run("b", 0.5)], training={"target": 0.6})
    told = shown(record)
    assert "s to 60 %" in told
    assert [line.split()[-1] for line in told.splitlines() if line[:2] in ("a ", "b ")] == [
        "20",
        "never",
    ]


@pytest.mark.parametrize(
    ("half", "words"),
    [(None, "71.2"), (0.046, "71.24 ± 0.05"), (1.24, "71.2 ± 1.2"), (12.0, "71 ± 12")],
)
def test_digits_are_those_that_the_interval_allows(half, words):
    assert percent(Mean(value=71.2376, sd=1.0, half=half, count=3)) == words


@pytest.mark.parametrize("record", [PLAIN, SWEEP, broken()], ids=["plain", "sweep", "broken"])
def test_every_format(record, tmp_path):
    document = document_of(record)
    assert shown(record, 200)
    assert markdown.render(document).startswith("# Learning: vgg8 on digits")
    assert html.render(document).startswith("<div>\n<h3>Learning:")
    assert text.render(document).startswith("Learning:")
    assert LearningRecord.model_validate(json.loads(json_of(record, ""))) == record
    save(record, tmp_path / "learning-x.json")
    assert load_any(tmp_path / "learning-x.json") == record


def test_a_study_that_has_just_begun_is_printed():
    told = shown(study([], workloads=("a", "b"), seeds=(0, 1)))
    assert "Not finished: 4 of 4 runs are missing" in told


def test_samples_and_labels_are_swept_too():
    tasks = [Task(classes=10, samples=1000), Task(classes=10, samples=2000)]
    told = shown(of_percents({"a": 50.0, "b": 60.0}, tasks=tasks, swept="samples"))
    assert "1,000" in told
    assert "log2 K" not in told
    tasks = [Task(classes=100), Task(classes=20, labels="coarse")]
    told = shown(of_percents({"a": 50.0, "b": 60.0}, tasks=tasks, swept="labels"))
    assert "fine" in told
    assert "100 or 20 classes, swept over labels" in " ".join(told.split())


# Plots.


def with_costs():
    runs = [
        r.model_copy(update={"energy": energy(900.0 + 300 * "abc".index(r.workload))})
        for r in PLAIN.runs
    ]
    return study(runs)


@pytest.mark.parametrize("kind", PLOTS)
def test_plots_are_drawn(kind, tmp_path):
    record = SWEEP if kind == "gap" else with_costs()
    path = tmp_path / "fig.png"
    draw_learning([record], kind, path)
    picture = imread(path)
    assert picture.shape[1] == pytest.approx(learning_plots.WIDTH * 300, abs=2)
    assert picture[..., :3].std() > 0.05


def test_two_gaps_are_drawn_side_by_side(tmp_path):
    draw_learning([SWEEP, SWEEP], "gap", tmp_path / "fig.png")
    assert imread(tmp_path / "fig.png").shape[1] == pytest.approx(
        2 * learning_plots.WIDTH * 300, abs=2
    )


def test_a_plot_without_figures_says_so(tmp_path):
    with pytest.raises(UsageError, match="no line over numbers of classes"):
        draw_learning([PLAIN], "gap", tmp_path / "fig.png")
    with pytest.raises(UsageError, match="an accuracy and an energy"):
        draw_learning([PLAIN], "accuracy-energy", tmp_path / "fig.png")
    with pytest.raises(UsageError, match="curves, accuracy-memory"):
        draw_learning([PLAIN], "cuves", tmp_path / "fig.png")
    with pytest.raises(StoreError, match="cannot be written"):
        draw_learning([PLAIN], "curves", tmp_path / "no" / "fig.png")


def test_curves_of_a_study_that_is_not_finished(tmp_path):
    draw_learning([broken()], "curves", tmp_path / "fig.pdf")
    assert (tmp_path / "fig.pdf").read_bytes().startswith(b"%PDF")


def test_names_are_no_markup(tmp_path):
    name = "a$_b^{\x1b[31m"
    record = study([run(one, 0.7, seed=s) for one in (name, "b") for s in range(3)])
    draw_learning([record], "accuracy-memory", tmp_path / "fig.png")
    draw_learning([record], "curves", tmp_path / "fig.png")
    assert "\x1b[31m" not in shown(record)


def test_no_two_names_stand_on_each_other():
    from matplotlib.figure import Figure

    for move in (learning_plots._spread_labels, learning_plots._free_labels):
        drawn = Figure(figsize=(3.5, 2.5))
        place = drawn.subplots()
        place.set(xlim=(0, 1), ylim=(0, 1))
        for at in range(4):
            learning_plots._label(place, f"name {at}", 0.3, 0.5 + at / 100, "k")
        drawn.draw_without_rendering()
        move(place)
        boxes = [one.get_window_extent().padded(-0.6) for one in place.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


@pytest.fixture
def command(tmp_path, capsys):
    """Runs ffprof report on a study; what it printed, and its error."""
    path = tmp_path / "learning-x.json"
    save(broken(), path)

    def call(*words, file=path):
        import typer
        from typer.main import get_command

        from ffprof.cli.report import report

        app = typer.Typer()
        app.command()(report)
        error = ""
        try:
            get_command(app)([str(file), *words], standalone_mode=False)
        except FfprofError as found:
            error = str(found)
        return capsys.readouterr().out, error

    return call


def test_the_command_prints_and_draws(command, tmp_path):
    printed, _ = command(file=tmp_path)
    assert "ffprof learn --resume" in " ".join(printed.split())
    command("--plot", "curves", "--output", str(tmp_path / "f.svg"))
    assert (tmp_path / "f.svg").read_text().count("<svg") == 1
    printed, _ = command("-f", "json")
    read = LearningRecord.model_validate_json(printed)
    assert read.digest and read.model_copy(update={"digest": ""}) == broken()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--plot", "curves"], "add --output fig.pdf"),
        (["--plot", "cuves", "--output", "f.pdf"], "a study has curves, accuracy-memory"),
        (["--plot", "curves", "--output", "f.doc"], "--output f.doc: unknown format"),
        (["--output", "f.pdf"], "say what to draw"),
        (["--judge"], "a learning makes no claims"),
    ],
)
def test_the_command_refuses(words, told, command):
    assert told in command(*words)[1]


def test_plots_of_other_results_are_refused(command, tmp_path):
    save(audit([trial("a", 0)]), tmp_path / "audit-x.json")
    _, error = command("--plot", "gap", "--output", "f.pdf", file=tmp_path / "audit-x.json")
    assert "no learning study but a result of kind 'audit'" in error
    assert "curves, accuracy-memory, accuracy-time, accuracy-energy, gap" in error


def searched(workload, *accuracies):
    ranges = (
        SettingRange(name="learning_rate", low=1e-4, high=2e-2),
        *([SettingRange(name="scale", low=16, high=4096)] if workload == "b" else []),
    )
    found = Search(workload=workload, seed=0, epochs=4, sampler="a sampler", ranges=ranges)
    for number, accuracy in enumerate(accuracies):
        trial = SearchTrial(
            number=number,
            settings={one.name: one.low * (number + 1) for one in ranges},
            accuracy=accuracy,
            outcome="diverged" if accuracy is None else "ok",
            message="in layer 3" if accuracy is None else "",
            seconds=1.0,
        )
        found = found.with_trial(trial)
    return found


def test_tuning_tells_best_and_default_settings_ranges_and_that_budgets_were_equal():
    record = of_percents({"a": 71.2, "b": 69.9}, noise=0.1)
    plan = record.plan.model_copy(update={"tuning": 3})
    searches = (searched("a", 0.6, None, None), searched("b", 0.5, 0.7, 0.7))
    text = shown(record.model_copy(update={"plan": plan, "searches": searches}))
    assert max(map(len, text.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "a 60.00 60.00 +0.00 default" in lines
    assert "b 70.00 50.00 +20.00 2 of 3" in lines
    assert "- b: learning rate 0.0002, scale 32" in lines
    assert "- searched: learning rate from 0.0001 to 0.02, by orders of magnitude" in lines
    assert "- searched: scale from 16 to 4096, by orders of magnitude (b)" in lines
    assert "- a: 2 trials diverged, first: in layer 3" in lines
    told = " ".join(lines)
    assert "every workload had the same budget: 3 trials of 4 epochs, from seed 0" in told
    assert "favours the best of many; the test set was not read" in told
    assert "both tuned for each workload" in told
    assert "Tuning" not in shown(record)


def test_tuning_that_has_not_ended_says_what_is_missing():
    record = study(
        [], workloads=("a", "b", "c"), seeds=(0,), tuning=2,
        searches=(searched("a", None, None), searched("b", 0.5)),
    )  # fmt: skip
    text = shown(record)
    assert "Not finished: 3 of 6 trials are missing." in text
    assert "a: the defaults, as no trial has ended well" in text
