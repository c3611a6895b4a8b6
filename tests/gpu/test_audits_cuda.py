"""On a real GPU: audits beside each other, what is estimated, and the largest micro-batch."""

import fcntl
import json
import signal
import sys
import time
from pathlib import Path

import pytest
from big_enough import BIG, ON_CUDA, larger_than, total_bytes
from command import ffprof, only_record, started
from null_words import HOST_LOSS, words

from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import Probe, gpu_uuid
from ffprof.harness.process.calls import ask_child
from ffprof.harness.process.child import start_context
from ffprof.harness.process.guard import gpu_lock_path
from ffprof.harness.worker import probe_child
from ffprof.records.store import load_frontier

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"))

from found_gpu import estimate, target_of

pytestmark = pytest.mark.gpu

MIB = 2**20
ROWS = "bp,bp-accum,dtg-ff,dtg-ff-streamed-accum"
# Hundreds of MB an image, of few weights: the border is found in a few runs.
FEW_FIT = ["--backbone", "flat-64-128", "--image-size", 128]


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
    # It is ended below, long before.
    first = started(*BIG, "--workloads", "bp-accum", "--rounds", 50, "--out", tmp_path / "a")
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
        first.send_signal(signal.SIGTERM)
        first.wait(timeout=60)


@pytest.mark.gpu_only("has the same model of cuDNN; tests/oracle compares to the byte")
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


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(False, marks=pytest.mark.gpu_only("is limited in test_budget_cuda.py")),
        True,
    ],
    ids=["of a card", "of this GPU"],
)
def test_the_largest_micro_batch_is_proven_by_runs(whole, tmp_path):
    larger_than(8 * 2**30)
    class_of_this = f"{-(-total_bytes() // 2**30)}GB"
    budget = ["--gpu-mem", class_of_this] if whole else ["--card", "RTX 4060"]
    done = ffprof(
        *ON_CUDA, *FEW_FIT, "--max-batch", "--workloads", "bp", *budget,
        "--out", tmp_path, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("capacity-*.json")
    record = json.loads(path.read_text())
    (found,) = record["capacities"]
    # On a card of the class itself nothing is limited, and that is what is said.
    assert record["budget"]["whole_gpu"] is whole
    assert ("nothing is limited" in " ".join(done.stdout.split())) is whole
    assert ("memory limited to" in done.stdout) is not whole
    ran = {t["size"]: t["outcome"] for t in found["tried"] if t["evidence"] != "estimated"}
    assert found["largest"], found["message"]
    assert ran[found["largest"]] == "ok"
    assert list(ran.values()).count("oom") <= 4


def test_a_frontier_is_measured(tmp_path):
    done = ffprof(
        "frontier", "--preset", "smoke", "--device", "cuda", *HOST_LOSS, "--workloads",
        "host-loss,host-loss-accum", "--micro-batches", "8,16", "--rounds", words(2, 1),
        "--steps", 3, "--out", tmp_path, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("frontier-*.json")
    record = load_frontier(path)
    measured = [point for point in record.points if point.trials]
    assert measured
    assert {trial.outcome for point in measured for trial in point.trials} == {"ok"}
    assert any(point.on_frontier for point in measured)
