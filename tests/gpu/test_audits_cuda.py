"""On a real GPU: audits beside each other, what is estimated, and the largest micro-batch."""

import fcntl
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from big_enough import BIG, larger_than
from command import ffprof, only_record

from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import Probe, gpu_uuid
from ffprof.harness.process.calls import ask_child
from ffprof.harness.process.child import start_context
from ffprof.harness.process.guard import gpu_lock_path
from ffprof.harness.worker import probe_child

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"))

from found_gpu import estimate, target_of

pytestmark = pytest.mark.gpu

MIB = 2**20
ROWS = "bp,bp-accum,dtg-ff,dtg-ff-streamed-accum"


def held_by_somebody(path):
    """Whether an audit has the GPU's lock."""
    try:
        with path.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def test_two_audits_on_one_gpu_are_refused_or_wait(tmp_path):
    lock = gpu_lock_path(gpu_uuid())
    assert not held_by_somebody(lock), "another audit is running on this GPU"
    words = [sys.executable, "-m", "ffprof", *map(str, BIG), "--workloads", "bp-accum"]
    words += ["--rounds", "50", "--out", str(tmp_path / "a")]  # it is ended below, long before
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not held_by_somebody(lock) and time.monotonic() < deadline:
            assert first.poll() is None, "the first audit has ended"
            time.sleep(0.5)
        assert held_by_somebody(lock)
        done = ffprof(*BIG, "--workloads", "bp-accum", "--out", tmp_path / "b", timeout=120)
        assert first.poll() is None, "the first audit ended before the second was refused"
        assert done.returncode == 3, done.stderr
        assert f"another audit (process {first.pid})" in done.stderr
    finally:
        first.terminate()
        first.wait(timeout=60)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_estimates_are_what_the_gpu_takes(precision, tmp_path):
    """A few rows of a small recipe; estimates_on_gpu.py has every row of the large."""
    done = ffprof(
        "run", "--preset", "cifar", "--precision", precision, "--device", "cuda", "--rounds", 1,
        "--workloads", ROWS, "--out", tmp_path, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = only_record(tmp_path)
    bound = 0.01 if precision == "fp32" else 0.03
    measured = {t.workload: t.memory for t in record.trials}
    assert set(measured) == set(ROWS.split(","))
    with environment(child_environment(record.recipe)):
        server = start_context("forkserver")
        found, reason = ask_child(server, probe_child, Probe)
        assert found is not None, reason
        target = target_of(found)
        for name, memory in measured.items():
            row, told, _ = estimate(server, name, record.recipe, target, 60.0)
            assert row is not None, told
            ours, theirs = row.memory.allocated_peak_bytes, memory.allocated_peak_bytes
            # Two MiB: rounding and workspaces are a good part of so small a net.
            assert abs(ours - theirs) <= max(2 * MIB, bound * theirs), (name, ours, theirs)


def test_the_largest_micro_batch_is_proven_by_runs(tmp_path):
    larger_than(4 * 2**30)
    done = ffprof(
        "run", "--max-batch", "--preset", "small", "--device", "cuda", "--workloads",
        "bp-accum", "--gpu-mem", "1500MB", "--out", tmp_path, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("capacity-*.json")
    (found,) = json.loads(path.read_text())["capacities"]
    ran = {t["size"]: t["outcome"] for t in found["tried"] if t["evidence"] != "estimated"}
    assert found["largest"], found["message"]
    assert ran[found["largest"]] == "ok"
    assert list(ran.values()).count("oom") <= 4
