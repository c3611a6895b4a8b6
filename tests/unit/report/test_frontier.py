"""Reports of frontiers: what they say, that they fit, and that nothing in a file obeys."""

import io
import re
from datetime import UTC, datetime

import pytest
from records import MIB, recipe, trial
from rich.console import Console

from ffprof.analysis.frontier.standings import settle
from ffprof.records.audit import Budget, Machine
from ffprof.records.frontier import FrontierRecord, Guess, Point
from ffprof.report.exporters.markdown import render
from ffprof.report.exporters.plots import draw_frontier
from ffprof.report.exporters.terminal import print_document
from ffprof.report.frontier import cost_line, frontier_document


def point(workload, size, *, guess=(100, 90.0), standing="not run", because="", trials=(), **more):
    known = guess and Guess(
        outcome="ok", fit="fits", memory_bytes=guess[0] * MIB, images_per_second=guess[1]
    )
    return Point(
        id=f"{workload}@{size}",
        workload=workload,
        method=more.pop("method", workload.split("-")[0]),
        family="f",
        schedule="accumulated",
        batch=8,
        micro_batch=size,
        precision=more.pop("precision", "fp32"),
        memory_format="contiguous",
        guess=known,
        standing=standing,
        because=because,
        trials=tuple(trials),
        **more,
    )


def run(workload, number, memory, speed, **more):
    made = trial(workload, number, memory=memory * MIB, speed=speed, **more)
    conditions = made.conditions.model_copy(update={"wall_seconds": 10.0})
    id = f"{workload}-{memory}-{speed}-{number}"
    return made.model_copy(update={"conditions": conditions, "id": id})


def record(points, **changes):
    fields = {
        "kind": "frontier",
        "created": datetime(2026, 1, 2, tzinfo=UTC),
        "ffprof": "0",
        "command": "ffprof frontier",
        "recipe": recipe(),
        "rounds": 3,
        "machine": Machine(
            platform="Linux", cpu="A CPU", cpu_count=2, ram_bytes=8 * 1024 * MIB,
            versions={"torch": "2.14.1"},
        ),
        "evidence": "measured (cpu)",
        "points": tuple(points),
        "guess_seconds": 4.0,
    }  # fmt: skip
    return settle(FrontierRecord(**(fields | changes)))


MEASURED = [
    point("a", 8, trials=[run("a", n, 100, 200.0 + n) for n in range(3)]),
    point("a", 4, guess=(80, 90.0), trials=[run("a", 0, 80, 150.0)]),
    point("a-other", 8, guess=(130, 60.0)),
    point("b", 8, trials=[run("b", 0, 100, 99.0, loss=(1.0, 2.0))]),
    point("c", 8, standing="refused", because="not on this backbone", guess=None),
    point("d", 8, trials=[run("d", 0, 1, 1.0, outcome="crashed", message="exit status 1")]),
]


def printed(known, width=80):
    console = Console(width=width, record=True, highlight=False, file=io.StringIO())
    print_document(frontier_document(known), console)
    return console.export_text()


def rows(text, name):
    return [line for line in text.splitlines() if re.match(rf"{re.escape(name)}\s", line)]


def test_the_report_says_what_is_best_what_is_left_out_and_what_it_cost():
    known = record(MEASURED)
    text = printed(known, 120)
    assert "a@8" in rows(text, "a")[0]
    assert "201" in rows(text, "a")[0]
    (other,) = rows(text, "a-other")
    assert "dominated" in other
    assert "a@8" in other
    assert "~130 MiB" in other
    assert "not ranked" in rows(text, "b")[-1]
    assert "b at 8: not ranked: its loss did not fall" in text
    assert "c at 8: refused; not on this backbone" in text
    assert "d at 8: failed; exit status 1" in text
    assert re.search(r"^b +none", text, re.MULTILINE)
    # Six trials of ten seconds; a-other would have taken three as long as its steps take.
    assert "measured 4 of 6 points in 1 min 04 s, 4 s of it for estimates" in cost_line(known)
    assert known.spent_seconds == 60.0


def test_what_is_as_fast_with_less_memory_is_told():
    def at(size, memory, speed):
        return point("a", size, guess=(memory, 90.0), trials=[run("a", 0, memory, speed)])

    points = [at(8, 100, 200.0), at(4, 50, 195.0), at(2, 30, 190.0), at(1, 60, 196.0)]
    text = printed(record(points))
    assert "a: as fast within 3%, with the least memory: a@4, 50.0 MiB" in text
    assert "as fast within" in render(frontier_document(record(points)))
    alone = record([points[0], points[2]])
    assert "as fast within" not in printed(alone)


def test_left_out_rates_are_scaled_and_marked_as_not_measured():
    by_id = {p.id: p for p in record(MEASURED).points}
    ratios = (201 / 90, 150 / 90)
    assert by_id["a-other@8"].images_per_second == pytest.approx(60 * sum(ratios) / 2)
    assert "~" in rows(printed(record(MEASURED)), "a-other")[0]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_tables_fit_the_terminal(width):
    text = printed(record(MEASURED), width)
    assert max(map(len, text.splitlines())) <= width


def test_settings_are_columns_only_if_they_vary():
    assert "precision" not in printed(record(MEASURED))
    varied = [*MEASURED[:2], point("a", 2, precision="bf16")]
    assert "bf16" in printed(record(varied))


def test_an_estimated_frontier_is_labelled_and_has_no_trials():
    points = [point("a", 8), point("a", 4, guess=(50, 50.0)), point("a-bad", 8, guess=(200, 50.0))]
    budget = Budget(requested="8GB", card="A card", total_bytes=8000 * MIB, limit_bytes=7000 * MIB)
    known = record(points, evidence="estimated", budget=budget, rounds=1)
    text = printed(known)
    assert "Frontier: preset test, estimated" in text
    assert "under the budget" in text
    assert "3 points estimated in 4 s" in text
    assert "trials" not in text
    assert "all figures estimated" in text
    assert "dominated" in rows(text, "a-bad")[0]


def test_nothing_in_a_file_reaches_the_terminal_or_markdown_unquoted():
    bad = [point("a\x1b[31m", 8), point("b|c*", 8, standing="refused", because="<b>\n# x\x1b")]
    known = record(bad)
    assert "\x1b[31m" not in printed(known)
    text = render(frontier_document(known))
    assert "\x1b" not in text
    assert "b\\|c\\*" in text
    assert "\n# x" not in text


def test_markdown_has_a_table_of_the_best_and_one_a_method():
    text = render(frontier_document(record(MEASURED)))
    assert text.count("\n| :--- |") == 5
    assert text.endswith("\n")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_the_plot_is_a_picture_even_of_nothing(tmp_path):
    for number, points in enumerate((MEASURED, MEASURED[4:5])):
        path = tmp_path / f"{number}.png"
        draw_frontier(record(points), path)
        assert path.read_bytes().startswith(b"\x89PNG")
