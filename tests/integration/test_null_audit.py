"""``ffprof run --device estimate --engine null``: the real command, which begins again there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from null_device import built_or_skip

from ffprof import load

SMOKE = ("--device", "estimate", "--preset", "smoke", "--workloads", "bp,bp-accum")
CARD = ("--card", "RTX 4060")


def command(folder, *words):
    """In an interpreter of its own, because it is one that begins again."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-m", "ffprof", *map(str, words)],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def left_in(folder):
    """Folders of devices, once what removes them has had its time."""
    for _ in range(100):
        if not (found := list(folder.glob("ffprof-device-*"))):
            break
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    built_or_skip()
    folder = tmp_path_factory.mktemp("null")
    done = command(folder, "run", *SMOKE, *CARD, "--engine", "null", "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "out").glob("audit-*.json")
    return folder, path, done.stdout


def test_it_is_emulated_and_has_memory_and_nothing_that_a_kernel_would_tell(audit):
    folder, path, printed = audit
    record = load(path)
    assert (record.evidence, record.machine.null_device, record.timed) == ("emulated", True, False)
    assert (record.machine.gpu, record.budget.whole_gpu) == ("NVIDIA GeForce RTX 4060", True)
    assert record.plan.rounds == 1
    for trial in record.trials:
        assert trial.outcome == "ok"
        assert (trial.throughput, trial.loss, trial.energy) == (None, None, None)
        assert 0 < trial.memory.allocated_peak_bytes <= trial.memory.reserved_peak_bytes
        assert trial.conditions.start_method == "forkserver"
    assert "no GPU: CUDA code of torch" in printed
    assert "img/s" not in printed and "loss" not in printed.split("Problems")[0]
    assert not left_in(folder)


def test_it_says_the_same_bytes_as_the_trace(audit, tmp_path):
    traced = command(tmp_path, "run", *SMOKE, *CARD, "--out", tmp_path / "out")
    assert traced.returncode == 0, traced.stderr
    (path,) = (tmp_path / "out").glob("audit-*.json")
    ours = {t.workload: t.memory for t in load(audit[1]).trials}
    for trial in load(path).trials:
        emulated = ours[trial.workload]
        # The runner collects losses, in one block of 512 bytes.
        assert emulated.allocated_peak_bytes - trial.memory.allocated_peak_bytes in (0, 512)
        assert emulated.reserved_peak_bytes == trial.memory.reserved_peak_bytes


def test_a_gate_makes_it_again_on_the_same_device(audit):
    folder, path, _ = audit
    done = command(folder, "check", "--baseline", path, "--all", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    for metric in ("allocated", "reserved", "operators"):
        assert f'"metric": "{metric}"' in done.stdout
    assert "throughput" not in done.stdout
    assert not left_in(folder)


def test_what_cannot_be_is_one_line():
    done = command(Path.cwd(), "run", "--device", "cpu", "--engine", "null")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--engine null is for --device estimate" in done.stderr
