"""``ffprof frontier --resume``: what is left is run, and nothing twice."""

import json
import shutil

import pytest
from command import ffprof

from ffprof.records.store import load_frontier, save

WORDS = [
    "frontier", "--device", "cpu", "--preset", "smoke", "--threads", "1", "--steps", "2",
    "--workloads", "bp,bp-accum", "--micro-batches", "8,16", "--rounds", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = ffprof(*WORDS, "--all-points", "--time-limit", "200", "--out", folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("frontier-*.json")
    return path


@pytest.fixture
def begun(whole, tmp_path):
    """As if it had been stopped after the first of its three trials."""
    record = load_frontier(whole)
    first, *others = record.points
    points = (first, *(p.model_copy(update={"trials": ()}) for p in others))
    path = tmp_path / whole.name
    save(record.model_copy(update={"points": points, "stopped": "interrupted"}), path)
    return path


def test_what_is_left_is_run_and_what_is_done_is_kept(begun):
    before = load_frontier(begun)
    done = ffprof("frontier", "--resume", begun.parent)
    assert done.returncode == 0, done.stderr
    after = load_frontier(begun)
    assert [len(p.trials) for p in after.points] == [1, 1, 1]
    assert after.points[0].trials == before.points[0].trials
    assert (after.every_point, after.trial_limit_seconds) == (True, 200.0)
    assert after.stopped == ""
    assert any("with 1 trials done" in note for note in after.notes)
    # A second time there is nothing to do, and the file stays as it is.
    text = begun.read_text()
    again = ffprof("frontier", "--resume", begun)
    assert again.returncode == 0
    assert "bp-accum" in again.stdout
    assert json.loads(begun.read_text()) == json.loads(text)


def test_other_options_contradict_it(begun):
    done = ffprof("frontier", "--resume", begun, "--rounds", "2")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "--rounds cannot be given with --resume" in done.stderr


def test_what_cannot_be_gone_on_with_is_one_line(begun, tmp_path):
    record = load_frontier(begun)
    bare = tuple(p.model_copy(update={"guess": None}) for p in record.points)
    other = record.machine.model_copy(update={"cpu": "another"})
    cases = {
        "machine": (record.model_copy(update={"machine": other}), "cpu is"),
        "unestimated": (record.model_copy(update={"points": bare}), "before all points were"),
    }
    for name, (changed, told) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        save(changed, folder / "frontier-x.json")
        done = ffprof("frontier", "--resume", folder)
        assert done.returncode == 2, done.stderr
        assert told in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no frontier" in ffprof("frontier", "--resume", empty).stderr
    shutil.rmtree(empty)
