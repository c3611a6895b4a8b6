"""benchmarks/gpu/on_gpu.sh: what it refuses, what it marks as done, and what it leaves running.

An interpreter that only pretends (a shell script) stands for the one with a GPU: the script's own
logic is tested, not what its stages measure.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "on_gpu.sh"

PRETENDS = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
*" --gpu" | *without_install.py\\ /*) exit 0 ;;
*" --provenance") echo "made with nothing"; exit 0 ;;
esac
eval "$DOES"
"""
# A foreground process, one in the background, and one that leaves the process group.
SLEEPS = """
trap 'exit 0' TERM
sleep 300 & echo $! >> "$PIDS"
setsid sleep 300 & echo $! >> "$PIDS"
echo $$ >> "$PIDS"
: > "$READY"
wait
"""


@pytest.fixture
def place(tmp_path):
    fake = tmp_path / "an interpreter"
    fake.write_text(PRETENDS)
    fake.chmod(0o755)
    return tmp_path


def environ(place, does="exit 0", **more):
    return os.environ | {
        "OUT": str(place / "out put"),
        "PYTHON": str(place / "an interpreter"),
        "CALLS": str(place / "calls"),
        "PIDS": str(place / "pids"),
        "READY": str(place / "ready"),
        "DOES": does,
        "GRACE": "1",
        **more,
    }


def on_gpu(*words, env, cwd=None, script=SCRIPT):
    return subprocess.run(
        ["sh", str(script), *words],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def made(place, ending):
    return sorted(path.name for path in (place / "out put").glob(f"*{ending}"))


def test_without_a_gpu_it_says_so_in_one_line_and_begins_nothing(place):
    done = on_gpu(env=environ(place, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES=""))
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no GPU" in done.stderr or "without CUDA" in done.stderr
    assert done.stdout == ""
    assert not (place / "out put").exists()


def test_an_unknown_stage_is_refused_before_anything_is_begun(place):
    done = on_gpu("allocator", "enrgy", env=environ(place))
    assert done.returncode == 2
    assert "'enrgy'" in done.stderr
    assert "sampler" in done.stderr
    assert not (place / "out put").exists()
    assert not (place / "calls").exists()


@pytest.mark.parametrize("limit", ["0", "-5", "many", "7.5"])
def test_a_limit_that_is_no_number_of_seconds_is_refused(place, limit):
    done = on_gpu("allocator", env=environ(place, LIMIT=limit))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_list_needs_no_gpu(place):
    done = on_gpu("--list", env=environ(place, PYTHON="/nowhere"))
    assert done.returncode == 0
    stages = re.findall(r"^(\S+): to do$", done.stdout, re.M)
    assert (stages[0], stages[-1]) == ("allocator", "sampler")
    assert not (place / "out put").exists()


def test_every_file_of_gpu_tests_has_a_stage(place):
    on_gpu("allocator", "tests", env=environ(place))
    ran = re.findall(r"tests/gpu/(\S+)", (place / "calls").read_text())
    assert sorted(ran) == sorted(p.name for p in (ROOT / "tests" / "gpu").glob("test_*.py"))


def test_a_stage_that_ends_well_is_marked_and_is_not_run_again_unless_it_is_named(place):
    env = environ(place)
    done = on_gpu("tests", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [
        "tests-audits",
        "tests-budget",
        "tests-cards",
        "tests-cuda",
        "tests-doctor",
        "tests-verdicts",
    ]
    assert made(place, ".done") == [f"{name}.done" for name in names]
    assert made(place, ".log") == [f"{name}.log" for name in names]
    (place / "calls").unlink()
    on_gpu(env=env)
    assert "test_cards_cuda" not in (place / "calls").read_text()
    on_gpu("tests-cards", env=env)
    assert "test_cards_cuda" in (place / "calls").read_text()


def test_a_failed_stage_is_not_marked_and_the_others_are_run(place):
    does = 'case "$*" in *cards*) echo "it broke"; exit 1 ;; esac'
    done = on_gpu("tests-cards", "tests-doctor", env=environ(place, does))
    assert done.returncode == 1
    assert "tests-cards: failed (exit 1)" in done.stdout
    assert "it broke" in done.stdout
    assert made(place, ".done") == ["tests-doctor.done"]


def test_a_stage_that_was_done_and_now_fails_is_no_longer_marked(place):
    assert on_gpu("sampler", env=environ(place)).returncode == 0
    assert on_gpu("sampler", env=environ(place, "exit 3")).returncode == 1
    assert made(place, ".done") == []


def test_logs_and_provenance_are_added_to(place):
    for number in ("first", "second"):
        on_gpu("sampler", env=environ(place, f"echo {number}"))
    log = (place / "out put" / "sampler.log").read_text()
    assert log.index("first") < log.index("second")
    provenance = (place / "out put" / "provenance-sampler.txt").read_text()
    assert provenance.count("made with nothing") == 2


def test_paths_are_meant_from_where_it_is_called(place):
    (place / "link.sh").symlink_to(SCRIPT)
    env = environ(place, OUT="out put", PYTHON="./an interpreter", CDPATH="/tmp:/")
    done = on_gpu("sampler", env=env, cwd=place, script="link.sh")
    assert done.returncode == 0, done.stderr
    assert made(place, ".done") == ["sampler.done"]


@pytest.mark.parametrize(("code", "ends", "marked"), [(0, 0, 1), (5, 0, 1), (75, 1, 0), (1, 1, 0)])
def test_estimates_are_done_when_all_is_measured_even_if_a_bound_is_missed(
    place, code, ends, marked
):
    done = on_gpu("estimates", env=environ(place, f"exit {code}"))
    assert done.returncode == ends
    assert len(made(place, ".done")) == marked
    assert ("not finished" in done.stdout) == (code == 75)


RECORDS = """
case "$*" in
*finished.py*) exit "$FINISHED" ;;
*--out*) while [ "$1" != --out ]; do shift; done; mkdir -p "$2"
    for kind in audit frontier capacity; do : > "$2/$kind-1.json"; done ;;
esac
"""


@pytest.mark.parametrize("stage", ["audit", "all", "frontier", "capacity"])
def test_a_stage_whose_record_lacks_something_goes_on_and_is_not_marked(place, stage):
    done = on_gpu(stage, env=environ(place, RECORDS, FINISHED="75"))
    assert done.returncode == 1
    assert f"{stage}: not finished" in done.stdout
    assert made(place, ".done") == []
    (place / "calls").unlink()
    done = on_gpu(stage, env=environ(place, RECORDS, FINISHED="0"))
    assert done.returncode == 0, done.stdout
    assert made(place, ".done") == [f"{stage}.done"]
    if stage == "capacity":
        (place / "calls").unlink()
        assert on_gpu(stage, env=environ(place, RECORDS, FINISHED="1")).returncode == 0
        assert "--max-batch" not in (place / "calls").read_text()  # each is done
    else:
        assert "--resume" in (place / "calls").read_text()


def test_one_search_that_fails_does_not_keep_the_others_from_being_made(place):
    does = 'case "$*" in *"bp-accum "*) exit 3 ;; esac' + RECORDS
    done = on_gpu("capacity", env=environ(place, does, FINISHED="0"))
    assert done.returncode == 1
    assert "capacity: failed" in done.stdout
    assert len(list((place / "out put" / "capacity").glob("*/done"))) == 6


def gone(place):
    pids = [int(line) for line in (place / "pids").read_text().split()]
    assert len(pids) == 3
    alive = [pid for pid in pids if psutil.pid_exists(pid)]
    return [pid for pid in alive if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_stopped_script_leaves_nothing_running_and_marks_nothing(place, number, code):
    script = subprocess.Popen(
        ["sh", str(SCRIPT), "sampler", "allocator"],
        env=environ(place, SLEEPS), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (place / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(script.pid, number)  # as a terminal does
        _, told = script.communicate(timeout=90)
    finally:
        script.kill()
    assert script.returncode == code
    assert "stopped" in told
    assert gone(place)
    assert made(place, ".done") == []
    assert made(place, ".log") == ["sampler.log"]


def test_nothing_of_a_stage_outlives_its_limit(place):
    done = on_gpu("sampler", env=environ(place, SLEEPS, LIMIT="2"))
    assert done.returncode == 1
    assert "not finished (exit 124)" in done.stdout
    assert gone(place)
    assert made(place, ".done") == []


def test_what_a_stage_writes_when_it_is_told_to_end_is_waited_for(place):
    does = """
    trap 'sleep 0.4; echo kept > "$READY"; exit 0' TERM
    sleep 300 & wait
    """
    done = on_gpu("sampler", env=environ(place, does, LIMIT="2", GRACE="60"))
    assert done.returncode == 1
    assert (place / "ready").read_text() == "kept\n"


def test_entry_points_are_found_on_the_path_alone(tmp_path):
    subprocess.run(
        [sys.executable, str(SCRIPT.with_name("without_install.py")), str(tmp_path)],
        check=True,
    )
    code = (
        "from importlib.metadata import entry_points as e\n"
        "print(*(p.name for p in e(group='ffprof.workloads')))"
    )
    told = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert {"bp", "dtg-ff-streamed-accum"} <= set(told)


def gpu_tests(place, text):
    (place / "test_one.py").write_text(text)
    return subprocess.run(
        [sys.executable, str(SCRIPT.with_name("gpu_tests.py")), "passed", "test_one.py"],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # only to start quickly
        cwd=place, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_tests_that_are_all_skipped_show_nothing(tmp_path):
    done = gpu_tests(tmp_path, "import pytest\ndef test_a(): pytest.skip('no GPU')\n")
    assert done.returncode == 6
    assert "nothing is shown" in done.stdout


def test_what_has_passed_is_not_run_again(tmp_path):
    bad, good = "def test_b(): assert 0\n", "def test_b(): pass\n"
    done = gpu_tests(tmp_path, "def test_a(): pass\n" + bad)
    assert done.returncode == 1
    assert (tmp_path / "passed").read_text() == "test_one.py::test_a\n"
    done = gpu_tests(tmp_path, "def test_a(): assert 0\n" + good)
    assert done.returncode == 0, done.stdout
    done = gpu_tests(tmp_path, "def test_a(): assert 0\n" + bad)
    assert done.returncode == 0, done.stdout
