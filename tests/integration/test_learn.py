"""``ffprof learn`` as a user runs it: real command, real processes, killed and resumed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ffprof, reported, started

from ffprof import load

RESULTS = Path(__file__).resolve().parents[2] / "results"
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
    assert {run.test_reads for run in record.runs} == {1}
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
    assert reported(folder).rstrip() == done.stdout.rstrip()
    assert "bp" in ffprof("report", folder, "-f", "markdown").stdout
    found = json.loads(ffprof("report", folder, "-f", "json").stdout)
    assert found | {"digest": ""} == json.loads(record.model_dump_json())


def test_an_audit_shows_what_its_methods_have_learned(study):
    _, record, folder = study
    done = ffprof("report", RESULTS / "audit-small-cpu.json", "--learned", folder)
    assert done.returncode == 0, done.stderr
    accuracy = {run.workload: f"{100 * run.accuracy:.1f}" for run in record.runs}
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = {words[0]: words for words in lines if words[1:2] == ["ok"]}
    for row, learned in (("bp", "bp"), ("bp-ckpt", "bp"), ("hinton-ff", "hinton-ff")):
        assert accuracy[learned] in rows[row]
    same = "dtg-ff-streamed-accum"
    assert accuracy[same] in rows[same]
    # Not learned, or by other gradients: batch norm over other images.
    for row in ("asge", "bp-accum", "dtg-ff"):
        assert rows[row][-1] == "-"
    assert "accuracy: of the row, or of its method, on test images of digits" in " ".join(
        done.stdout.split()
    )
    wrong = ffprof("report", folder, "--learned", folder)
    assert wrong.returncode == 2
    assert "--learned is for the rows of an audit" in wrong.stderr


def begin(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "ffprof", "learn", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def epochs_stored(folder):
    records = [load(file) for file in folder.glob("learning-*.json")]
    return sum(len(run.epochs) for record in records for run in record.runs)


def kill_after(process, folder, epochs, seconds):
    """All of it is killed at once, so long after so many epochs were stored."""
    deadline = time.monotonic() + 200
    while epochs_stored(folder) < epochs and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def test_killed_at_random_moments_it_ends_with_the_same_digits(study, tmp_path):
    """Killed, resumed, killed again, and resumed to the end."""
    _, whole, _ = study
    moment = random.Random()
    folder = tmp_path / "killed"
    kill_after(begin(*TINY, "--out", folder), folder, moment.randint(1, 5), moment.random() / 3)
    stored = epochs_stored(folder)
    again = begin("--resume", folder)
    kill_after(again, folder, stored + moment.randint(1, 4), moment.random() / 3)
    (path,) = folder.glob("learning-*.json")
    damaged = load(path).missing() and list(folder.glob("*-checkpoints/*.pt"))
    for one in (damaged or [])[:1]:  # the study goes on with other runs before it meets this one
        _refused_with_a_damaged_checkpoint(path, one)
    resumed = ffprof("learn", "--resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    assert digits_of(load(path)) == digits_of(whole)
    assert [one.name for one in folder.iterdir()] == [path.name]


def run_of(path, name):
    return next((run for run in load(path).runs if run.id == name), None)


def _refused_with_a_damaged_checkpoint(path, checkpoint):
    """One line, and nothing is lost; with the checkpoint back, the study goes on."""
    kept, before = checkpoint.read_bytes(), run_of(path, checkpoint.stem)
    checkpoint.write_bytes(kept[:1000])
    done = ffprof("learn", "--resume", path)
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "starts again" in done.stderr
    assert run_of(path, checkpoint.stem) == before
    checkpoint.write_bytes(kept)


def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(study, tmp_path):
    _, whole, _ = study
    process = started("learn", *TINY, "--out", tmp_path)
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


def test_runs_that_ran_out_of_time_go_on(study, tmp_path):
    _, whole, _ = study
    done = ffprof("learn", *TINY, "--time-limit", "0.1", "--out", tmp_path)
    assert done.returncode == 3
    (path,) = tmp_path.glob("learning-*.json")
    assert {run.outcome for run in load(path).runs} == {"timeout"}
    # As a checkpoint that was being written when its run was ended.
    half = path.with_name(f"{path.stem}-checkpoints") / ".t0-s0-bp.pt.half"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    again = ffprof("learn", "--resume", path, "--time-limit", "500")
    assert again.returncode == 0, again.stderr
    assert digits_of(load(path)) == digits_of(whole)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


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
    assert {run.training_images for run in record.runs} == {256}
    # Two at a time share the machine, and that is in the record.
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
        (["--labels", "coarse"], ["digits has no groups"]),
        (["--samples", "16"], ["16 training images are fewer than a batch of 32"]),
        (["--warmup-epochs", "9"], ["9 epochs of warm-up are more than 4"]),
        (["--jobs", "999"], ["--jobs 999", "use at most"]),
        (["--shift", "2", "--no-augmentation"], ["--shift is a part of --augmentation"]),
        (["--data", "fashion-mnist:/nowhere"], ["/nowhere"]),
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


@pytest.mark.parametrize("option", ["--epochs", "--learning-rate"])
def test_what_the_record_fixes_cannot_be_given_on_resuming(study, option):
    _, _, folder = study
    done = ffprof("learn", "--resume", folder, option, "2")
    assert done.returncode == 2
    assert f"{option} cannot be given with --resume" in done.stderr


def test_a_value_of_a_sweep_that_cannot_be_is_refused_and_the_others_are_trained(tmp_path):
    done = ffprof(
        "learn", "--preset", "smoke", "--device", "cpu", "--threads", "1", "--epochs", "1",
        "--workloads", "bp", "--seeds", "1", "--sweep", "samples-per-class=20,10000",
        "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_study(tmp_path)
    assert [run.outcome for run in record.runs] == ["ok", "refused"]
    assert "10000 training images of each class are wanted" in record.runs[1].message
    assert "10000 training images of each class" in " ".join(done.stdout.split())
    assert not record.missing()
