"""A dry run says what a run then does, and leaves no trace."""

import re
import time

import pytest
from command import TINY, ffprof, only_record

from ffprof.units import format_bytes

WORDS = [*TINY, "--workloads", "bp-accum,dtg-ff,refuses", "--rounds", "1"]


@pytest.fixture(scope="module")
def planned(tmp_path_factory, hostile_env):
    folder, env = tmp_path_factory.mktemp("dry"), hostile_env
    dry = ffprof("run", *WORDS, "--dry-run", "--out", folder / "out", env=env)
    assert dry.returncode == 0, dry.stderr
    assert not (folder / "out").exists()
    began = time.monotonic()
    done = ffprof("run", *WORDS, "--out", folder / "out", env=env)
    assert done.returncode == 0, done.stderr
    return dry, only_record(folder / "out"), folder / "out", env, time.monotonic() - began


def test_it_says_what_is_then_run(planned):
    dry, record, folder, _, _ = planned
    said = " ".join(dry.stdout.split())
    assert "nothing is measured or written" in said
    assert "3 workloads, 1 round: 3 trials" in said
    assert "round 1: " + ", ".join(t.workload for t in record.trials) in said
    assert "limits: 600 s for a trial, no limit for the run" in said
    assert f"{folder}/audit-smoke-cpu-DATE-TIME-PROCESS.json" in said
    for verdict in record.verdicts:
        assert f"{verdict.challenger} needs less memory than" in said
    assert "on throughput, ratios only: verdicts need 5 rounds" in said


def test_memory_is_then_measured_to_the_byte(planned):
    dry, record, _, _, _ = planned
    rows = {line.split()[0]: line for line in dry.stdout.splitlines() if line.strip()}
    measured = [t for t in record.trials if t.outcome == "ok"]
    assert len(measured) == 2
    for trial in measured:
        assert format_bytes(trial.memory.live_tensor_peak_bytes) in rows[trial.workload]


def test_what_will_be_refused_is_told_with_its_reason(planned):
    dry, record, _, _, _ = planned
    (trial,) = [t for t in record.trials if t.outcome == "refused"]
    assert f"refuses is refused: {trial.message}" in " ".join(dry.stdout.split())


def test_the_time_is_of_the_right_order(planned):
    """Rough by its nature, and other programs run here: only nonsense is caught."""
    dry, _, _, _, took = planned
    said = re.search(r"about (?:(\d+) min )?(\d+) s in all", " ".join(dry.stdout.split()))
    forecast = 60 * int(said[1] or 0) + int(said[2])
    assert took < 10 * forecast + 60
    assert forecast < 10 * took + 60


def test_a_step_that_takes_too_long_is_one_line_and_memory_is_forecast(tmp_path):
    large = ["--image-size", "64", "--batch", "512", "--micro-batch", "512"]  # no step in 0.1 s
    words = [*TINY, *large, "--workloads", "bp", "--time-limit", "0.1"]
    dry = ffprof("run", *words, "--dry-run", "--out", tmp_path / "out")
    assert dry.returncode == 0, dry.stderr
    (line,) = [line for line in dry.stdout.splitlines() if "time not forecast" in line]
    assert line.startswith(" - bp: time not forecast: ") and "0.1 s" in line
    assert re.search(r"^bp .* MiB +-", dry.stdout, re.M)
    assert "Traceback" not in dry.stdout + dry.stderr


def test_times_of_an_earlier_audit_are_better(planned):
    """It may be gone on with, too: then only what is missing counts."""
    _, _, folder, env, _ = planned
    (path,) = folder.iterdir()
    before = path.read_bytes()
    dry = ffprof("run", "--resume", folder, "--rounds", "2", "--dry-run", env=env)
    said = " ".join(dry.stdout.split())
    assert "2 rounds: 6 trials, 3 of them done" in said
    assert f"times of trials: what they took in {path}" in said
    assert "round 2: " in said
    assert "round 1: " not in said
    assert "0 s for gradient checks" in said
    assert f"the result file: {path}" in said
    assert (list(folder.iterdir()), path.read_bytes()) == ([path], before)


def test_bad_options_are_the_same_one_line(tmp_path):
    done = ffprof("run", "--dry-run", "--micro-batch", "7", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "does not divide" in done.stderr
    assert not (tmp_path / "out").exists()


def test_rows_that_cannot_be_forecast_say_why(hostile_env, tmp_path):
    done = ffprof(
        "run", *TINY, "--workloads", "bp,crash,own-precision", "--dry-run",
        "--out", tmp_path / "out", env=hostile_env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    why = "memory and time not forecast:"
    assert f"crash: {why} RuntimeError: the method's own mistake" in said
    assert f"own-precision: {why} it works on tensors that are not in its module" in said
    assert "without crash, own-precision" in said
    assert "Traceback" not in done.stdout + done.stderr
