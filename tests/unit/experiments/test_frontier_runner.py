"""The loop that measures a frontier, with children replaced by a surface that is known."""

import itertools
import json

import pytest
from records import MIB, recipe, record, trial
from rich.console import Console

from ffprof.cli.output.progress import QuietProgress
from ffprof.experiments.attempt import Attempts
from ffprof.experiments.campaign import OUT_OF_TIME, StoppedError
from ffprof.experiments.frontier.request import FrontierRequest, default_sizes, make_points
from ffprof.experiments.frontier.runner import find_frontier
from ffprof.experiments.outcome import TrialResult
from ffprof.experiments.request import Request
from ffprof.records.frontier import FrontierRecord, Guess
from ffprof.records.store import load_frontier
from ffprof.records.trial import Memory, Throughput
from ffprof.workload import Description

SIZES = (2, 4, 8, 16, 32)
TRIAL_SECONDS = 3.0


def workload(id, *, accumulates=True, check=None, method=None):
    return Description(
        id=id,
        method=method or id.split("-")[0],
        schedule="accumulated",
        family="f",
        summary="",
        load=None,
        load_backbone=None,
        accumulates=accumulates,
        check=check,
    )


class World:
    """What estimates say and what trials give, by workload and micro-batch."""

    def __init__(self, tmp_path, workloads, *, evidence="emulated", rounds=3, every=False, **more):
        self.recipe = recipe(batch=32, micro_batch=8)
        self.rates, self.memories, self.guesses, self.outcomes = {}, {}, {}, {}
        self.losses = {}
        self.runs = []
        self.clock = 0.0
        points, recipes = make_points(
            self.recipe, workloads, SIZES, more.pop("precisions", ("fp32",)), ("contiguous",)
        )
        shell = record([trial(w.id, 0) for w in workloads], batch=32, micro_batch=8, judged=False)
        shell = shell.model_copy(update={"trials": (), "evidence": evidence})
        audit = Request(
            record=shell,
            workloads=tuple(workloads),
            device="cuda",
            path=tmp_path / "unused.json",
            context=None,
        )
        self.request = FrontierRequest(
            audit=audit,
            record=FrontierRecord(
                kind="frontier",
                created=shell.created,
                ffprof="0",
                command="ffprof frontier",
                recipe=self.recipe,
                rounds=rounds,
                machine=shell.machine,
                evidence=evidence,
                every_point=every,
                points=points,
            ),
            recipes=recipes,
            target=None,
            path=tmp_path / "frontier-test.json",
            trial_limit_seconds=100.0,
            **more,
        )

    def key(self, workload, size):
        return f"{workload}@{size}"

    def memory(self, key):
        return self.memories.get(key, int(key.split("@")[1]) * 100 * MIB)

    def rate(self, key):
        size = int(key.split("@")[1])
        return self.rates.get(key, 300.0 * size / (size + 3))

    def seconds(self, key):
        """What a trial takes: two seconds, and 3 steps of warm-up, 6 untimed and the timed ones."""
        return 2.0 + (3 + 6 + self.timed(key)) * 32 / self.rate(key)

    def timed(self, key):
        """30 steps, or those that ten seconds hold, at least ten."""
        return max(10, min(30, int(10 * self.rate(key) / 32)))

    def guess(self, request, wanted, target, told):
        found = []
        for number, (one, chosen) in enumerate(wanted, 1):
            key = self.key(one.id, one.micro_batch(chosen))
            default = Guess(
                outcome="ok", fit="fits", memory_bytes=self.memory(key),
                images_per_second=2 * self.rate(key),
            )  # fmt: skip
            found.append(self.guesses.get(key, default))
            told(number)
        return found

    def measure(self, attempts, one, slot, record):
        key = self.key(one.id, one.micro_batch(record.recipe))
        self.runs.append((slot.round, key))
        remaining = attempts.campaign.left()
        self.clock += TRIAL_SECONDS
        if remaining < TRIAL_SECONDS:
            raise StoppedError(OUT_OF_TIME)
        outcome = self.outcomes.get(key, "ok")
        if isinstance(outcome, BaseException):
            raise outcome
        ok = outcome == "ok"
        speed = Throughput(
            images_per_second=self.rate(key), step_seconds=(32 / self.rate(key),) * self.timed(key),
            data_wait_seconds=0.0,
        )  # fmt: skip
        made = trial(
            one.id,
            slot.round,
            outcome=outcome,
            id=slot.id,
            position=slot.position,
            evidence="emulated",
            device="cuda",
            memory_parts={"allocated_peak_bytes": self.memory(key)} if ok else {},
            loss=self.losses.get(key, (2.0, 1.0)),
            message="" if ok else "it went wrong",
        )
        conditions = made.conditions.model_copy(update={"wall_seconds": self.seconds(key)})
        made = made.model_copy(
            update={"throughput": speed if ok else None, "conditions": conditions}
        )
        assert isinstance(made.memory, Memory)
        return TrialResult(trial=made, facts={})

    def find(self):
        def settled(attempts, one, slot, record, limit_seconds, discard):
            return self.measure(attempts, one, slot, record)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Attempts, "settled", settled)
            progress = QuietProgress(Console(quiet=True))
            found = find_frontier(self.request, progress, lambda: self.clock, self.guess)
        if self.request.path.exists():
            assert load_frontier(self.request.path) == found.record
        return found

    def points(self):
        return {p.id: p for p in self.find().record.points}


def test_points_are_measured_from_the_fastest_down_and_the_best_in_all_rounds(tmp_path):
    world = World(tmp_path, [workload("a"), workload("b")])
    points = world.points()
    assert len(world.runs) == 14  # five of each once, the best of each twice more
    assert {key for _, key in world.runs[:2]} == {"a@32", "b@32"}
    for method in "ab":
        assert points[f"{method}@32"].best
        assert len(points[f"{method}@32"].trials) == 3
        assert all(points[f"{method}@{size}"].on_frontier for size in SIZES)
        assert all(len(points[f"{method}@{size}"].trials) == 1 for size in SIZES[:-1])


def test_what_another_workload_of_the_method_dominates_is_not_run(tmp_path):
    world = World(tmp_path, [workload("a"), workload("a-slow", method="a"), workload("b")])
    for size in SIZES:
        world.rates[f"a-slow@{size}"] = 0.3 * world.rate(f"a@{size}")
        world.memories[f"a-slow@{size}"] = int(1.2 * world.memory(f"a@{size}"))
    points = world.points()
    slow = [points[f"a-slow@{size}"] for size in SIZES]
    assert [p.standing for p in slow] == ["dominated"] * 5
    assert sum(bool(p.trials) for p in slow) == 1  # no workload is left out unseen
    for one in slow:
        other = points[one.because]
        assert other.method == "a"
        assert other.memory_bytes <= one.memory_bytes
        assert other.images_per_second > one.images_per_second
    # Its speed is shown scaled by what was measured: estimates were twice too fast.
    assert slow[2].images_per_second == pytest.approx(world.rate("a-slow@8"), rel=0.01)


def test_what_clearly_does_not_fit_is_not_run_and_what_is_too_close_is(tmp_path):
    world = World(tmp_path, [workload("a")])
    for size, fit in ((32, "does not fit"), (16, "too close to call")):
        world.guesses[f"a@{size}"] = Guess(
            outcome="oom", fit=fit, memory_bytes=size * 100 * MIB, images_per_second=500.0,
            message="no room",
        )  # fmt: skip
    world.outcomes["a@16"] = "oom"
    points = world.points()
    assert (points["a@32"].standing, points["a@32"].trials) == ("does not fit", ())
    assert points["a@32"].because == "no room"
    assert (points["a@16"].standing, len(points["a@16"].trials)) == ("does not fit", 1)
    assert points["a@8"].best


def test_a_size_above_one_that_ran_out_of_memory_is_not_run(tmp_path):
    world = World(tmp_path, [workload("a"), workload("b")])
    nothing = Guess(outcome="refused", message="cannot be traced")
    world.guesses = {f"a@{size}": nothing for size in SIZES}  # so they are run in their order
    world.outcomes = {"a@8": "oom", "b@8": "oom"}
    points = world.points()
    assert not points["a@16"].trials
    assert (points["a@16"].standing, points["a@16"].because) == (
        "does not fit", "a@8 ran out of memory",
    )  # fmt: skip
    assert points["a@4"].best
    assert points["b@32"].best  # measured before


def test_all_points_are_run_even_if_estimates_say_that_they_do_not_fit(tmp_path):
    world = World(tmp_path, [workload("a")], every=True)
    world.guesses["a@32"] = Guess(outcome="oom", fit="does not fit", memory_bytes=10**10)
    points = world.points()
    assert len(points["a@32"].trials) == 3
    assert points["a@32"].best


@pytest.mark.parametrize(
    ("outcome", "standing"),
    [("crashed", "failed"), ("timeout", "failed"), ("refused", "refused"), ("oom", "does not fit")],
)
def test_what_fails_is_data_and_is_not_tried_again(tmp_path, outcome, standing):
    world = World(tmp_path, [workload("a")], every=True)
    world.outcomes["a@32"] = outcome
    points = world.points()
    assert (points["a@32"].standing, points["a@32"].because) == (standing, "it went wrong")
    assert len(points["a@32"].trials) == 1
    assert not points["a@32"].on_frontier
    assert points["a@16"].best
    assert all(len(points[f"a@{size}"].trials) == 3 for size in SIZES[:-1])


@pytest.mark.parametrize("loss", [(1.0, 2.0), (1.0, None)])
def test_what_does_not_learn_wins_nothing(tmp_path, loss):
    world = World(tmp_path, [workload("a")])
    world.losses["a@32"] = loss
    points = world.points()
    assert (points["a@32"].standing, points["a@32"].best) == ("measured", False)
    assert "loss" in points["a@32"].because
    assert not points["a@32"].on_frontier
    assert points["a@16"].best


def test_rounds_are_shuffled_by_the_seed_and_every_point_is_in_each(tmp_path):
    world = World(tmp_path, [workload("a"), workload("b")], every=True)
    record = world.find().record
    rounds = [[k for r, k in world.runs if r == number] for number in range(3)]
    assert all(set(r) == {p.id for p in record.points} for r in rounds)
    assert rounds[0] != rounds[1] != rounds[2]
    again = World(tmp_path, [workload("a"), workload("b")], every=True)
    again.find()
    assert again.runs == world.runs
    assert record.spent_seconds == pytest.approx(record.all_seconds)
    assert record.spent_seconds == pytest.approx(sum(world.seconds(key) for _, key in world.runs))


def test_what_everything_would_take_is_forecast_for_what_was_left_out(tmp_path):
    both = [workload("a"), workload("a-slow", method="a")]
    world = World(tmp_path, both)
    for size in SIZES:
        world.rates[f"a-slow@{size}"] = 0.3 * world.rate(f"a@{size}")
    record = world.find().record
    assert record.spent_seconds == pytest.approx(sum(world.seconds(key) for _, key in world.runs))
    assert sum(not point.trials for point in record.points) >= 2
    whole = 3 * sum(world.seconds(point.id) for point in record.points)
    assert record.all_seconds == pytest.approx(whole, rel=0.02)
    assert record.spent_seconds < record.all_seconds


def test_an_interrupted_search_keeps_what_it_has(tmp_path):
    world = World(tmp_path, [workload("a")])
    world.outcomes["a@8"] = KeyboardInterrupt()
    found = world.find()
    assert isinstance(found.interrupt, KeyboardInterrupt)
    assert found.record.stopped == "interrupted"
    points = {p.id: p for p in found.record.points}
    assert points["a@32"].best
    assert points["a@4"].standing == "not run"
    assert json.loads(world.request.path.read_text())["stopped"] == "interrupted"


def test_the_time_of_the_whole_run_ends_it(tmp_path):
    world = World(tmp_path, [workload("a")], run_limit_seconds=2.5 * TRIAL_SECONDS)
    record = world.find().record
    assert sum(len(p.trials) for p in record.points) == 2
    assert "time limit" in record.stopped
    assert {p.standing for p in record.points} == {"dominated", "measured", "not run"} - {
        "dominated"
    }


def test_nothing_is_written_if_nothing_is_known(tmp_path):
    world = World(tmp_path, [workload("a")])
    world.outcomes["a@32"] = KeyboardInterrupt()
    world.find()
    assert not world.request.path.exists()


def test_an_estimated_frontier_runs_nothing(tmp_path):
    world = World(tmp_path, [workload("a"), workload("a-slow", method="a")], evidence="estimated")
    for size in SIZES:
        world.rates[f"a-slow@{size}"] = 0.9 * world.rate(f"a@{size}")
    world.guesses["a@2"] = Guess(outcome="refused", message="cannot be traced")
    world.guesses["a@32"] = Guess(
        outcome="oom", fit="does not fit", memory_bytes=9, images_per_second=1e6, message="no room"
    )
    record = world.find().record
    points = {p.id: p for p in record.points}
    assert world.runs == []
    assert (points["a@2"].standing, points["a@2"].because) == ("refused", "cannot be traced")
    assert points["a@32"].standing == "does not fit"
    assert points["a@16"].best
    assert points["a-slow@8"].standing == "dominated"
    assert points["a-slow@2"].on_frontier
    assert record.spent_seconds is None


def test_points_are_workloads_at_sizes_and_settings():
    whole = workload("w", accumulates=False)
    picky = workload("p", check=lambda r: "not in bf16" if r.precision == "bf16" else None)
    points, recipes = make_points(
        recipe(batch=32, micro_batch=8), [whole, picky], (4, 8), ("fp32", "bf16"), ("contiguous",)
    )
    assert [p.id for p in points] == [
        "w@32/fp32", "w@32/bf16", "p@4/fp32", "p@8/fp32", "p@4/bf16", "p@8/bf16",
    ]  # fmt: skip
    assert [p.standing for p in points[-2:]] == ["refused"] * 2
    assert points[-1].because == "not in bf16"
    for one in points:
        chosen = recipes[one.id]
        assert (chosen.precision, chosen.batch) == (one.precision, 32)
        if one.workload == "p":
            assert chosen.micro_batch == one.micro_batch


@pytest.mark.parametrize(
    ("batch", "micro", "sizes"),
    [
        (64, 16, (4, 8, 16, 32, 64)),
        (96, 16, (4, 8, 16, 32, 96)),
        (64, 64, (4, 8, 16, 32, 64)),
        (64, 1, (1, 2, 4, 8, 16)),
        (7, 7, (1, 7)),
        (1, 1, (1,)),
    ],
)
def test_default_sizes_are_divisors_about_the_recipes(batch, micro, sizes):
    assert default_sizes(recipe(batch=batch, micro_batch=micro)) == sizes


def test_default_sizes_always_divide_and_hold_the_recipes():
    for batch, micro in itertools.product(range(1, 130), range(1, 130)):
        if batch % micro == 0:
            sizes = default_sizes(recipe(batch=batch, micro_batch=micro))
            assert micro in sizes
            assert len(sizes) <= 5
            assert all(batch % one == 0 for one in sizes)
            assert all(b >= 2 * a for a, b in itertools.pairwise(sizes))
