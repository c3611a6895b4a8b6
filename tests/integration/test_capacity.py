"""``ffprof run --max-batch`` and ``--max-depth``: estimated in real processes, and on a card that
is a function."""

import json
import signal
import time

import pytest
from command import ffprof, reported, started
from frontiers import frontier

from ffprof.estimator.target import target_for
from ffprof.experiments.campaign import OUT_OF_TIME
from ffprof.experiments.capacity import runner
from ffprof.experiments.capacity.request import CapacityRequest
from ffprof.experiments.capacity.runner import find_capacities
from ffprof.experiments.selection import choose_workloads
from ffprof.hardware.budget import budget_for
from ffprof.harness.process.child import run_child, start_context
from ffprof.records.frontier import Tried
from ffprof.records.store import load_frontier
from ffprof.workload import find_preset

# Of which context and libraries take most; larger images need fewer questions.
SMALL_CARD = ["--preset", "smoke", "--gpu-mem", "1500MB", "--image-size", "128"]


def only_capacities(folder):
    (path,) = folder.glob("capacity-*.json")
    return load_frontier(path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capacity")
    words = ["--workloads", "bp,bp-accum", "--out", folder]
    return folder, ffprof("run", "--max-batch", *SMALL_CARD, *words)


def test_without_a_gpu_it_is_estimated_and_says_so(searched):
    folder, done = searched
    assert done.returncode == 0, done.stderr
    record = only_capacities(folder)
    assert record.kind == "capacity" and record.evidence == "estimated"
    assert "micro-batch that fits: preset smoke, estimated" in done.stdout
    assert "nothing was run" in done.stdout and "no speed" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    whole, parted = record.capacities
    for one in (whole, parted):
        tried = {t.size: t for t in one.tried}
        assert tried[one.largest].fit == "fits" and tried[one.first_failing].fit != "fits"
        assert one.first_failing == one.largest + 1 and not one.proven
        assert {t.evidence for t in one.tried} == {"estimated"}
    # The preset's batch of 32 is cut into four.
    assert whole.batch == whole.largest and parted.batch == 4 * parted.largest
    assert not list(folder.glob("audit-*"))


def test_it_is_what_estimate_answers(searched):
    record = only_capacities(searched[0])
    words = ["--workloads", "bp-accum", "--largest", "micro-batch", "--format", "json"]
    done = ffprof("estimate", *SMALL_CARD, *words)
    (answer,), one = json.loads(done.stdout), record.capacities[1]
    assert answer == one.model_dump(mode="json")
    there = next(t for t in one.tried if t.size == one.largest)
    sizes = ["--batch", one.batch, "--micro-batch", one.largest, "--workloads", "bp-accum"]
    (row,) = json.loads(ffprof("estimate", *SMALL_CARD, *sizes, "--format", "json").stdout)
    assert there.reserved_bytes == row["memory"]["reserved_peak_bytes"]
    assert list(there.process_range_bytes) == row["memory"]["process_range_bytes"]


def test_the_report_can_be_made_again_from_the_file(searched):
    folder, done = searched
    assert reported(folder).rstrip("\n") == done.stdout.rstrip("\n")
    assert "| bp-accum |" in ffprof("report", folder, "-f", "markdown").stdout
    written = json.loads(next(folder.glob("capacity-*")).read_text())
    assert json.loads(ffprof("report", folder, "-f", "json").stdout) == written


def test_depth_is_searched_up_to_where_it_ends(tmp_path):
    flat = ["--preset", "smoke", "--backbone", "flat-4-64", "--image-size", "64"]
    card = ["--gpu-mem", "1500MB", "--workloads", "bp", "--out", tmp_path]
    done = ffprof("run", "--max-depth", *flat, *card)
    assert done.returncode == 0, done.stderr
    (one,) = only_capacities(tmp_path).capacities
    assert one.grown == "depth" and 4 < one.largest < 256 and one.batch == 32
    assert "flat-N-64" in done.stdout and "Largest depth" in done.stdout
    done = ffprof("estimate", *flat, *card[:4], "--largest", "depth", "-f", "json")
    (answer,) = json.loads(done.stdout)
    assert answer == one.model_dump(mode="json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "3"], "--max-batch cannot be combined with --rounds"),
        (["--steps", "3"], "--max-batch cannot be combined with --steps"),
        (["--resume", "x"], "there is no result file x; name that of a search"),
        (["--dry-run"], "--max-batch cannot be combined with --dry-run"),
        (["--device", "cpu"], "--device cpu has none"),
        (["--max-depth"], "--max-batch and --max-depth cannot be combined"),
        (["--gpu-mem", "8GB", "--card", "RTX 4060"], "--gpu-mem and --card both"),
    ],
)
def test_what_contradicts_it_is_refused_by_name(tmp_path, words, said):
    done = ffprof("run", "--preset", "smoke", "--max-batch", *words, "--out", tmp_path / "new")
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words", [["run", "--max-depth"], ["estimate", "--largest", "depth"]], ids=" ".join
)
def test_a_backbone_without_depth_is_refused(words):
    done = ffprof(*words, "--preset", "smoke")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "vgg8 has no depth that could grow; name a flat one" in done.stderr


def test_a_step_of_ones_own_is_not_resized(tmp_path):
    (tmp_path / "own.py").write_text(
        "from ffprof import register_step\n\n"
        "@register_step(id='mine')\ndef build(device):\n    return lambda: None\n"
    )
    done = ffprof("run", "--max-batch", "--preset", "smoke", "--workload-file", tmp_path / "own.py")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "mine supplies its own data, so its micro-batch cannot be changed" in done.stderr
    assert "give its build an argument batch: def build(device, batch)" in done.stderr


def test_an_interrupt_keeps_what_was_found(tmp_path):
    words = ["--workloads", "bp,bp-accum,bp-ckpt,bp-ckpt-accum", "--out", tmp_path]
    run = started("run", "--max-batch", *SMALL_CARD, *words)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("capacity-*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=200)
    assert run.returncode == 130, err
    assert "stopped early: interrupted" in err and "written to" in err
    record = only_capacities(tmp_path)
    assert 1 <= len(record.capacities) < 4 and record.capacities[0].largest > 1
    assert "stopped early: interrupted; not searched: " in record.notes[-1]
    assert record.notes[-1].endswith("bp-ckpt-accum") and "not searched" in out
    assert "bp " in out and [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert "resume with: ffprof run --max-batch" in err
    other = ffprof("run", "--max-batch", *SMALL_CARD, *words, "--batch", "64", "--resume", tmp_path)
    assert other.returncode == 2 and "cannot be resumed like this: batch is" in other.stderr
    assert other.stderr.count("\n") == 1
    done = ffprof("run", "--max-batch", *SMALL_CARD, *words, "--resume", tmp_path)
    assert done.returncode == 0, done.stderr
    whole = only_capacities(tmp_path)
    assert [one.workload for one in whole.capacities] == words[1].split(",")
    assert whole.capacities[0] == record.capacities[0]  # it is not searched again
    assert not any("stopped early" in one for one in (*whole.notes, done.stdout))


def test_no_time_at_all_is_one_line(tmp_path):
    words = ["--workloads", "bp", "--run-limit", "0.1", "--out", tmp_path]
    done = ffprof("run", "--max-batch", *SMALL_CARD, *words)
    assert done.returncode == 3
    assert OUT_OF_TIME in done.stderr and "raise --run-limit" in done.stderr
    assert not list(tmp_path.glob("*.json"))


# From here on the card is a function, and the estimates are real.
# What was estimated for one test is not estimated again for the next.
_estimated = {}


@pytest.fixture(autouse=True)
def _each_estimate_once(monkeypatch):
    def asked_once(server, child, arguments, limit):
        asked = repr((child, arguments))
        if asked not in _estimated:
            _estimated[asked] = run_child(server, child, arguments, limit)
        return _estimated[asked]

    monkeypatch.setattr(runner, "run_child", asked_once)


@pytest.fixture(scope="module")
def server():
    return start_context("forkserver")


class Card:
    """Fits images at a time up to a border of each workload."""

    def __init__(self, borders, after=None):
        self.borders, self.ran, self._after = borders, [], after

    def __call__(self, description, recipe, limit_seconds):
        size = description.micro_batch(recipe)
        self.ran.append((description.id, size, recipe.batch, limit_seconds))
        if self._after is not None and (ending := self._after(len(self.ran))) is not None:
            if isinstance(ending, BaseException):
                raise ending
            return Tried(size=size, outcome=ending, evidence="emulated", message=ending)
        fits = size <= self.borders[description.id]
        return Tried(
            size=size,
            outcome="ok" if fits else "oom",
            evidence="emulated",
            reserved_bytes=size * 2**20 if fits else None,
            message="" if fits else "CUDA out of memory",
        )


def request(server, tmp_path, probe, workloads="bp,bp-accum", **changes):
    recipe = find_preset("smoke").recipe.model_copy(update={"image_size": 128})
    fields = {
        "record": frontier(recipe=recipe, capacities=()),
        "workloads": choose_workloads(workloads),
        "grown": "micro-batch",
        "path": tmp_path / "capacity-x.json",
        "server": server,
        "target": target_for(budget_for("1500MB"), None, None),
        "run_probe": probe,
        "time_limit_seconds": 60.0,
    }
    return CapacityRequest(**(fields | changes))


class Told:
    def __init__(self):
        self.lines = []

    def starts(self, text, number, total):
        self.lines.append((text, number, total))

    def done(self):
        self.lines.append("end")


def test_the_estimate_proposes_and_the_card_decides(server, tmp_path):
    card, told = Card({"bp": 40, "bp-accum": 33}), Told()
    outcome = find_capacities(request(server, tmp_path, card), told)
    assert outcome.stopped is None and told.lines[-1] == "end"
    assert told.lines[0] == ("bp: estimating", 0, 2)
    tried = [size for name, size, *_ in card.ran if name == "bp"]
    assert told.lines[1] == (f"bp: running {tried[0]}", 0, 2)
    assert told.lines[len(tried)][0].startswith(f"bp: running {tried[-1]}, ")
    whole, parted = outcome.record.capacities
    assert (whole.largest, whole.first_failing, whole.batch) == (40, 41, 40)
    assert (parted.largest, parted.first_failing, parted.batch) == (33, 34, 132)
    assert whole.proven and parted.proven and not whole.message
    # What ran first is what estimates alone would have answered.
    for one in (whole, parted):
        assert one.tried[0].size == one.proposed
        assert all(t.evidence == "emulated" for t in one.tried)
        assert len(one.tried) <= 8
    assert all(batch == 4 * size for name, size, batch, _ in card.ran if name == "bp-accum")
    assert load_frontier(tmp_path / "capacity-x.json") == outcome.record


def test_losses_are_bounded_and_a_clear_estimate_may_stand_for_one(server, tmp_path):
    # Far below what is estimated: with two losses the smallest size is all that can be had.
    card = Card({"bp": 3})
    few = request(server, tmp_path, card, "bp", max_oom=2, max_runs=3)
    (one,) = find_capacities(few, Told()).record.capacities
    assert sum(t.outcome == "oom" for t in one.tried if t.evidence == "emulated") <= 2
    assert not one.proven and "nothing is proven" in one.message
    # A card that has more than was estimated: the estimate of the next is clear.
    card = Card({"bp": 5_000})
    none = request(server, tmp_path, card, "bp", max_runs=10)
    (one,) = find_capacities(none, Told()).record.capacities
    assert one.proven and one.tried[-1].evidence == "estimated"
    assert one.tried[-1].fit == "does not fit" and one.tried[-1].size == one.largest + 1
    assert "was estimated not to fit, not run" in one.message


def test_a_crash_ends_one_search_and_not_the_next(server, tmp_path):
    card = Card({"bp": 40, "bp-accum": 40}, lambda number: "crashed" if number == 2 else None)
    whole, parted = find_capacities(request(server, tmp_path, card), Told()).record.capacities
    assert not whole.proven and "gave no result (crashed" in whole.message
    assert whole.largest == whole.proposed and parted.proven


def test_what_was_found_before_an_interrupt_is_kept(server, tmp_path):
    def after(number):
        return KeyboardInterrupt() if number == 8 else None

    card = Card({"bp": 40, "bp-accum": 400}, after)
    outcome = find_capacities(request(server, tmp_path, card), Told())
    assert outcome.stopped == "interrupted" and isinstance(outcome.interrupt, KeyboardInterrupt)
    kept = load_frontier(tmp_path / "capacity-x.json")
    assert kept == outcome.record
    whole, parted = kept.capacities
    assert whole.proven and not parted.proven
    assert len(whole.tried) + len(parted.tried) == 7 and "interrupted" in parted.message


def test_limits_hold_and_the_runs_are_kept(server, tmp_path):
    clock = [0.0]

    def after(number):
        clock[0] += 30.0
        return "timeout" if number == 3 else None

    card = Card({"bp": 400}, after)
    limited = request(server, tmp_path, card, "bp", run_limit_seconds=100.0)
    outcome = find_capacities(limited, Told(), now=lambda: clock[0])
    # The third run had the 40 seconds that were left of all, less than its own limit.
    assert [limit for *_, limit in card.ran] == [60.0, 60.0, 40.0]
    assert outcome.stopped == OUT_OF_TIME
    (one,) = load_frontier(tmp_path / "capacity-x.json").capacities
    assert len(one.tried) == 2 and OUT_OF_TIME in one.message and not one.proven
    # Its own limit is an outcome of the run.
    card = Card({"bp": 400}, lambda number: "timeout")
    outcome = find_capacities(request(server, tmp_path, card, "bp"), Told())
    assert outcome.stopped is None and "(timeout" in outcome.record.capacities[0].message


def test_what_a_recipe_refuses_is_not_searched(server, tmp_path):
    recipe = find_preset("smoke").recipe.model_copy(update={"precision": "fp16"})
    refused = request(
        server, tmp_path, Card({}), "bp-fused-step", record=frontier(recipe=recipe, capacities=())
    )
    (one,) = find_capacities(refused, Told()).record.capacities
    assert one.largest == 0 and not one.proven and one.message.startswith("refused: ")
