"""``ffprof learn`` as a user runs it: real command, real processes, killed and resumed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from command import ffprof

from ffprof import load

TINY = [
    "--preset", "smoke", "--device", "cpu", "--threads", "1", "--samples", "192", "--epochs", "4",
    "--workloads", "bp,dtg-ff-streamed-accum,hinton-ff", "--seeds", "1",
]  # fmt: skip


def only_study(folder):
    (path,) = folder.glob("learning-*.json")
    return load(path)


def digits_of(record):
    """Everything but times and what a machine was like."""
    return {
        run.id: (
            run.outcome,
            [(e.number, e.images, e.learning_rate, e.loss, e.validation) for e in run.epochs],
            run.test,
            run.memory.live_tensor_peak_bytes,
        )
        for run in record.runs
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    done = ffprof("learn", *TINY, "--out", folder)
    assert done.returncode == 0, done.stderr
    return done, only_study(folder), folder


def test_it_writes_one_record_with_every_run_and_no_checkpoint(study):
    done, record, folder = study
    assert [path.name for path in folder.iterdir()] == [
        path.name for path in folder.glob("learning-digits-*.json")
    ]
    assert {run.workload for run in record.runs} == set(record.plan.workloads)
    assert {run.outcome for run in record.runs} == {"ok"}
    assert {len(run.epochs) for run in record.runs} == {4}
    assert {run.test.images for run in record.runs} == {297}
    assert {run.training_images for run in record.runs} == {192}
    assert record.missing() == []
    assert record.evidence == "measured (cpu)"
    assert "Traceback" not in done.stderr


def test_the_table_is_right_when_read_against_the_json(study):
    done, record, _ = study
    for run in record.runs:
        (line,) = [text for text in done.stdout.splitlines() if text.split()[:1] == [run.workload]][
            :1
        ]
        assert f"{100 * run.accuracy:.1f}" in line or f"{100 * run.accuracy:.2f}" in line


def test_it_learns(study):
    _, record, _ = study
    losses = {run.workload: [epoch.loss for epoch in run.epochs] for run in record.runs}
    for found in losses.values():
        assert found[-1] < found[0]


def test_report_prints_it_in_every_format(study):
    done, record, folder = study
    assert ffprof("report", folder).stdout == done.stdout.removesuffix("\n")
    assert "bp" in ffprof("report", folder, "-f", "markdown").stdout
    found = json.loads(ffprof("report", folder, "-f", "json").stdout)
    assert found == json.loads(record.model_dump_json())


def begin(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "ffprof", "learn", *TINY, "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def epochs_stored(folder):
    return sum(
        len(run.epochs) for file in folder.glob("learning-*.json") for run in load(file).runs
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_it_ends_with_the_same_digits(study, tmp_path, seed):
    """All of it is killed at once, some time after so many epochs were stored; then resumed."""
    _, whole, _ = study
    moment = random.Random(seed)
    folder = tmp_path / "killed"
    process = begin(folder)
    deadline, wanted = time.monotonic() + 200, moment.randint(1, 8)
    while epochs_stored(folder) < wanted and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(moment.random() * 0.3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    (path,) = folder.glob("learning-*.json")
    before = load(path)
    resumed = ffprof("learn", "--resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    found = load(path)
    assert digits_of(found) == digits_of(whole)
    if before.missing():
        assert any(note.startswith("resumed ") for note in found.notes)
    assert [one.name for one in folder.iterdir()] == [path.name]


def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(study, tmp_path):
    _, whole, _ = study
    process = begin(tmp_path)
    deadline = time.monotonic() + 200
    while epochs_stored(tmp_path) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    (path,) = tmp_path.glob("learning-*.json")
    assert f"resume with: ffprof learn --resume {path}" in err.splitlines()
    assert load(path).missing()
    assert ffprof("learn", "--resume", path).returncode == 0
    assert digits_of(load(path)) == digits_of(whole)


def test_nothing_missing_is_said_and_nothing_is_run(study):
    _, record, folder = study
    done = ffprof("learn", "--resume", folder)
    assert done.returncode == 0
    assert "nothing is missing in" in done.stderr
    assert only_study(folder) == record


def test_a_sweep_over_classes_of_a_teacher(tmp_path):
    done = ffprof(
        "learn", "--preset", "smoke", "--device", "cpu", "--threads", "1", "--data", "teacher",
        "--samples", "256", "--test-samples", "64", "--teacher-width", "8", "--epochs", "1",
        "--workloads", "bp", "--seeds", "2", "--sweep", "classes=2,4", "--jobs", "2",
        "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_study(tmp_path)
    assert [(run.task, run.seed) for run in record.runs] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [task.classes for task in record.plan.tasks] == [2, 4]
    assert {run.test.images for run in record.runs} == {64}
    # 256 less a tenth; two at a time share the machine, and that is in the record.
    assert {run.training_images for run in record.runs} == {230}
    assert any(run.beside for run in record.runs)


def test_divergence_is_an_outcome_that_names_the_layer(tmp_path):
    done = ffprof(
        "learn", *TINY, "--workloads", "bp,dtg-ff", "--learning-rate", "1e30", "--out", tmp_path
    )  # fmt: skip
    assert done.returncode == 3
    record = only_study(tmp_path)
    assert {run.outcome for run in record.runs} == {"diverged"}
    for run in record.runs:
        assert "begins in the output of" in run.message
        assert run.message.split("output of ")[1].split()[0].rstrip(")") in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1,1"], ["1 is there twice"]),
        (["--classes", "11"], ["digits has 10 classes"]),
        (["--labels", "coarse"], ["digits has no groups"]),
        (["--samples", "16"], ["16 training images are fewer than a batch of 32"]),
        (["--samples-per-class", "500"], ["both say how many"]),
        (["--sweep", "samples=64,5000", "--samples", "9"], ["both say what samples is"]),
        (["--warmup-epochs", "9"], ["9 epochs of warm-up are more than 4"]),
        (["--jobs", "999"], ["--jobs 999", "use at most"]),
        (["--data", "fashion-mnist:/nowhere"], ["/nowhere"]),
        (["--workloads", "nonsense"], ["unknown workload 'nonsense'"]),
        (["--epochs", "0"], ["--epochs"]),
        (["--device", "cuda"], ["--device cuda"]),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_result(words, said, tmp_path):
    out = tmp_path / "out"
    done = ffprof("learn", *TINY, *words, "--out", out)
    assert done.returncode in (2, 3), done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("ffprof: error: "), done.stderr
    assert "Traceback" not in done.stderr
    for word in said:
        assert word in lines[-1]
    assert not list(out.glob("learning-*.json")) if out.exists() else True


@pytest.mark.parametrize("option", ["--epochs", "--seeds", "--learning-rate", "--classes"])
def test_what_the_record_fixes_cannot_be_given_on_resuming(study, option):
    _, _, folder = study
    done = ffprof("learn", "--resume", folder, option, "2")
    assert done.returncode == 2
    assert f"{option} cannot be given with --resume" in done.stderr


def test_a_checkpoint_of_another_recipe_is_one_line_and_loses_nothing(study, tmp_path):
    _, whole, _ = study
    process = begin(tmp_path)
    deadline = time.monotonic() + 200
    while epochs_stored(tmp_path) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    (path,) = tmp_path.glob("learning-*.json")
    checkpoints = list(tmp_path.glob("*-checkpoints/*.pt"))
    if not load(path).missing() or not checkpoints:
        pytest.fail("it had ended before it was killed")
    for one in checkpoints:
        one.write_bytes(b"damaged")
    before = load(path).runs
    done = ffprof("learn", "--resume", path)
    assert done.returncode == 2
    assert "cannot be used" in done.stderr and "starts again" in done.stderr
    assert load(path).runs == before
    for one in checkpoints:
        one.unlink()
    assert ffprof("learn", "--resume", path).returncode == 0
    assert digits_of(load(path)) == digits_of(whole)
