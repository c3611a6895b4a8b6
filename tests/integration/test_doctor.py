"""``ffprof doctor`` through the real command line."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from command import ffprof
from null_device import unfit
from stub_nvml import BUSY, HEALTHY, build_stub, with_stub

from ffprof.hardware.doctor.diagnosis import GROUPS, topics

ROOT = Path(__file__).resolve().parents[2]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def broken_torch(folder, line):
    """An environment in which importing torch runs this line first."""
    package = folder / "torch"
    package.mkdir()
    (package / "__init__.py").write_text(line + "\n")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def test_the_table_fits_80_columns_and_leaves_nothing_behind(tmp_path):
    env = {**os.environ, "COLUMNS": "80", "OMP_PROC_BIND": "true"}
    done = ffprof("doctor", "--device", "cpu", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    shown = re.findall(r"^  (ok|note|warn|bad) +(\S+)", done.stdout, re.M)
    assert ("warn", "thread-variables") in shown
    assert ("ok", "torch") in shown
    assert set(GROUPS) - {"GPU"} <= set(lines)
    unchecked = " ".join(lines[lines.index("Variables") :])
    assert all(topic in unchecked for topic in GROUPS["GPU"])
    assert re.search(r"things? would change your figures", done.stdout)
    assert list(tmp_path.iterdir()) == []


@no_gpu
def test_a_gpu_that_was_asked_for_and_is_missing_ends_with_3_and_json_says_all():
    env = {**os.environ, "PYTORCH_ALLOC_CONF": "backend:native", "MALLOC_TRIM_THRESHOLD_": "9"}
    done = ffprof("doctor", "--device", "cuda", "--format", "json", env=env)
    assert done.returncode == 3
    document = json.loads(done.stdout)
    found = {f["topic"]: f for f in document["findings"]}
    assert found["cuda"]["state"] == "bad"
    assert document["summary"]["bad"] == 1
    assert found["allocator-variables"]["state"] == "note"
    assert found["malloc-variables"]["state"] == "note"
    assert found["trial-start"]["state"] == "ok"
    assert found["null-device"]["state"] == ("note" if unfit() else "ok"), found["null-device"]
    assert found.keys() | document["not_checked"].keys() == set(topics())
    for finding in found.values():
        keys = ["topic", "group", "state", "seen", "why", "do", "commands"]
        assert list(finding) == keys


@no_gpu
def test_fixes_are_a_script_that_is_only_printed(tmp_path):
    build_stub(tmp_path)
    env = with_stub(tmp_path, tmp_path / "table", healthy=HEALTHY, busy=BUSY)
    # What comes from outside stays in comments.
    env |= {"TORCH_X": f"a\ntouch {tmp_path}/done", "LD_PRELOAD": "", "COLUMNS": "80"}
    done = ffprof("doctor", "--fix", env=env)
    assert done.returncode == 0, done.stderr
    script = done.stdout
    assert script.startswith("#!/bin/sh\n# From ffprof doctor")
    assert "# warn: gpu-processes: python3 (4242) 2.93 GiB" in script
    assert "unset TORCH_X\n" in script
    commands = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert not any("touch" in command for command in commands)
    for command in commands:
        assert ("sudo" in command) == any(
            word in command for word in ("modprobe", "tee ", "nvidia-smi -i", "mount", "swapoff")
        )
    shell = shutil.which("bash") or "sh"
    subprocess.run([shell, "-n"], input=script, text=True, check=True)
    order = [line.split()[1].rstrip(":") for line in script.splitlines() if ": " in line[:8]]
    marks = [mark for mark in order if mark in ("bad", "warn", "note")]
    assert marks == sorted(marks, key=("bad", "warn", "note").index)


@pytest.mark.parametrize(
    "line",
    [
        "raise ImportError('libtorch_cpu.so: undefined symbol: spoiled')",
        # This ends the server that trials are forked from, too.
        "raise OSError('libcudart.so.13: cannot open shared object file: spoiled')",
        "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
    ],
    ids=["import error", "os error", "signal"],
)
def test_a_torch_that_cannot_be_imported_is_one_finding(tmp_path, line):
    done = ffprof("doctor", "--format", "json", env=broken_torch(tmp_path, line))
    assert done.returncode == 3
    assert done.stderr == ""
    document = json.loads(done.stdout)
    (bad,) = [f for f in document["findings"] if f["state"] == "bad"]
    assert bad["topic"] == "torch"
    assert "spoiled" in bad["seen"] or "SIGILL" in bad["seen"] or "signal 4" in bad["seen"]
    assert bad["commands"]
    assert document["not_checked"]["trial-start"] == "torch does not start"


def test_run_says_in_one_line_that_its_server_has_died(tmp_path):
    env = broken_torch(tmp_path, "raise OSError('libcudart.so.13: spoiled')")
    done = ffprof("run", "--preset", "smoke", env=env, cwd=tmp_path)
    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ffprof: error: torch cannot be started (OSError: libcudart.so.13")
    assert "ffprof doctor" in last


def test_every_topic_is_explained():
    page = (ROOT / "docs" / "doctor.md").read_text()
    for topic in topics():
        assert f"`{topic}`" in page, topic
