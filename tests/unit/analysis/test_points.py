"""What becomes of points whose trials went wrong in part: their standing, and what is told."""

import io

import pytest
from point_states import point, run, settled
from records import MIB
from rich.console import Console

from ffprof.analysis.frontier.standings import wave
from ffprof.records.audit import Budget
from ffprof.report.exporters.terminal import print_document
from ffprof.report.frontier import cost_line, frontier_document, problems


def by_id(record):
    return {p.id: p for p in record.points}


def printed(record):
    console = Console(width=200, file=io.StringIO())
    print_document(frontier_document(record), console)
    return console.file.getvalue()


HOT = ("slowed down in 80 % of the timed samples",)


def test_a_point_that_went_beyond_the_card_does_not_fit():
    record = settled(
        point(8, run(0, 80.0)), point(16, run(0, 160.0, memory=200, beyond=5)),
    )  # fmt: skip
    points = by_id(record)
    assert (points["a@16"].standing, points["a@16"].best) == ("does not fit", False)
    assert points["a@8"].best
    (line,) = [line for line in problems(record) if "a at 16" in line]
    assert "does not fit; the process took more than the card has" in line
    assert "a@16" not in wave(record, every=True)


@pytest.mark.parametrize(("inside", "standing"), [(1, "does not fit"), (2, "measured")])
def test_one_trial_beyond_the_card_among_more_inside_counts_for_nothing(inside, standing):
    trials = [run(n, 100.0) for n in range(inside)]
    (one,) = settled(point(8, *trials, run(9, 500.0, beyond=1))).points
    assert one.standing == standing
    assert one.images_per_second == 100.0  # of those inside


def test_a_point_disturbed_in_all_its_trials_is_not_the_best_but_is_run_again():
    spoilt = point(16, run(0, 160.0, memory=200, spoilt=HOT))
    record = settled(point(8, run(0, 80.0)), spoilt)
    points = by_id(record)
    assert (points["a@8"].best, points["a@16"].best) == (True, False)
    assert points["a@16"].on_frontier
    assert "a at 16: disturbed in all its trials, so it is not named best; slowed" in "\n".join(
        problems(record)
    )
    assert set(wave(record, every=False)) == {"a@8", "a@16"}
    clean = settled(point(8, run(0, 80.0)), point(16, *spoilt.trials, run(1, 160.0, memory=200)))
    assert by_id(clean)["a@16"].best
    assert not any("disturbed in all" in line for line in problems(clean))


def test_one_crash_beside_good_trials_is_told_and_two_fail_the_point():
    crash = run(2, outcome="crashed", message="exit status 1")
    record = settled(point(8, run(0), run(1), crash))
    (one,) = record.points
    assert one.best
    assert "one trial failed, others count: crashed: exit status 1" in "\n".join(problems(record))
    two = run(3, outcome="timeout", message="too long")
    assert settled(point(8, run(0), run(1), crash, two)).points[0].standing == "failed"
    assert settled(point(8, crash)).points[0].standing == "failed"


@pytest.mark.parametrize(("ran", "waits"), [(True, True), (False, False)])
def test_a_size_is_put_out_by_a_smaller_one_only_if_nothing_larger_ran(ran, waits):
    oom = run(0, outcome="oom", message="no room")
    larger = [point(32, run(0, 320.0, memory=300))] if ran else []
    record = settled(point(8, oom), point(16, rate=5000.0), *larger, point(64, rate=9000.0))
    points = by_id(record)
    assert (points["a@16"].standing == "not run") == waits
    assert (points["a@64"].standing == "not run") == waits
    assert points["a@8"].standing == "does not fit"


def test_an_estimate_that_is_too_close_to_call_is_not_the_best():
    close = {"fit": "too close to call", "outcome": "oom"}
    record = settled(point(8), point(16, **close), evidence="estimated")
    assert by_id(record)["a@8"].best
    assert "no best" not in printed(record)
    likely = settled(point(8), point(16, fit="too close to call"), evidence="estimated")
    assert by_id(likely)["a@8"].best and not by_id(likely)["a@16"].best


@pytest.mark.parametrize("outcome", ["ok", "oom"])
def test_without_a_point_that_fits_there_is_no_best_and_a_line_says_so(outcome):
    record = settled(
        point(16, fit="too close to call", outcome=outcome),
        point(32, fit="does not fit", outcome="oom"),
        evidence="estimated",
    )
    assert not any(p.best for p in record.points)
    assert "a: no best, because no point fits for sure; too close to call: a@16" in printed(record)


def test_as_fast_is_by_the_estimate_where_nothing_was_run():
    record = settled(point(8, rate=98.0), point(16, rate=100.0), evidence="estimated")
    assert "as fast within 3% by the estimate, with the least memory: a@8" in printed(record)
    ran = settled(point(8, run(0, 98.0)), point(16, run(0, 100.0, memory=200)))
    assert "as fast within 3%, with the least memory: a@8" in printed(ran)


def test_the_edge_of_the_grid_is_told_unless_it_is_the_whole_batch():
    grid = [point(size, run(0, 10.0 * size, memory=size)) for size in (8, 16)]
    assert "the best is at the largest size requested: a@16" in "\n".join(problems(settled(*grid)))
    assert not problems(settled(*grid, point(64, run(0, 640.0, memory=640))))
    lower = settled(grid[0], point(16, run(0, 10.0, memory=16)))
    assert not problems(lower)


def test_trials_that_were_taken_again_cost_time_and_are_told():
    again = (run(7, id="x-a0", spoilt=HOT), run(7, id="x-a1", spoilt=HOT))
    record = settled(point(64, *[run(n) for n in range(3)], discarded=again))
    assert (record.spent_seconds, record.all_seconds) == (50.0, 50.0)
    assert record.points[0].images_per_second == 100.0
    assert "a at 64: 2 disturbed trials were repeated" in problems(record)


def test_a_share_is_told_only_of_what_was_done_and_of_trials_that_cost_more_than_estimates():
    grid = [point(8, run(0)), point(64, run(0, 300.0, memory=200))]
    done = settled(*grid)
    assert cost_line(done).endswith("%)")
    stopped = cost_line(settled(*grid, stopped="interrupted"))
    assert "%" not in stopped and "all of them" not in stopped
    small = cost_line(done.model_copy(update={"guess_seconds": 500.0}))
    assert "%" not in small and "estimates took longer than trials" in small


def test_the_setting_says_what_context_and_libraries_take():
    budget = Budget(
        requested="8GB", card="A card", total_bytes=8000 * MIB, debit_bytes=500 * MIB,
        limit_bytes=7400 * MIB,
    )  # fmt: skip
    one = settled(point(8, run(0))).model_copy(update={"budget": budget})
    text = " ".join(printed(one).split())
    assert (
        "limited to A card sold with 8GB: CUDA offers 7.81 GiB there; context and libraries" in text
    )
    assert "take 500 MiB, tensors have 7.23 GiB" in text
