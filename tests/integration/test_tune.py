"""``ffprof learn --tune`` as a user runs it: equal budgets, interrupted, and resumed."""

import signal
import time

import pytest
from command import ffprof, started

import ffprof as package
from ffprof import load

TINY = [
    "--preset", "smoke", "--device", "cpu", "--threads", "1", "--samples", "128", "--epochs", "1",
    "--workloads", "bp,hinton-ff", "--seeds", "1", "--tune", "3",
]  # fmt: skip


def only_study(folder):
    (path,) = folder.glob("learning-*.json")
    return load(path), path


def digits_of(record):
    """Everything but times."""
    searches = [
        (one.workload, one.best, [(t.settings, t.accuracy, t.outcome) for t in one.trials])
        for one in record.searches
    ]
    runs = [
        (run.id, run.settings, run.epochs[-1].loss, run.epochs[-1].validation, run.test)
        for run in record.runs
    ]
    return searches, runs


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    done = ffprof("learn", *TINY, "--out", folder)
    assert done.returncode == 0, done.stderr
    return done, *only_study(folder)


def test_every_workload_has_the_same_trials_and_its_runs_the_best_settings(tuned):
    done, record, _ = tuned
    assert [len(one.trials) for one in record.searches] == [3, 3]
    assert {trial.outcome for one in record.searches for trial in one.trials} == {"ok"}
    assert record.plan.tuning == 3
    for run in record.runs:
        search = record.search(run.workload)
        assert run.settings == search.settings
        # The same images, seed and settings: what the trial validated, the run does.
        assert run.epochs[-1].validation.accuracy[run.rule] == search.trials[search.best].accuracy
    assert "Tuning" in done.stdout
    assert "Traceback" not in done.stderr


def test_interrupted_and_resumed_it_ends_with_the_same_digits(tuned, tmp_path):
    _, whole, _ = tuned
    process = started("learn", *TINY, "--out", tmp_path)
    deadline = time.monotonic() + 200
    while not any(load(file).searches for file in tmp_path.glob("learning-*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    kept, path = only_study(tmp_path)
    assert f"resume with: ffprof learn --resume {path}" in err.splitlines()
    assert kept.missing_trials()
    assert not kept.runs
    resumed = ffprof("learn", "--resume", tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert digits_of(load(path)) == digits_of(whole)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--validation", "0"], "--validation 0 leaves no images to tune on"),
        (["--tune", "0"], "--tune"),
        (["--tune", "10001"], "--tune"),
    ],
)
def test_what_cannot_be_is_one_line(words, said, tmp_path):
    done = ffprof("learn", *TINY, *words, "--out", tmp_path)
    assert done.returncode == 2, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("ffprof: error: "), done.stderr
    assert said in lines[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("learning-*.json"))


def test_it_is_an_argument_in_python():
    with pytest.raises(package.errors.UsageError, match=r"learn\(tune=-1\)"):
        package.learn("bp", preset="smoke", device="cpu", tune=-1)
