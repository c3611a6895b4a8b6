"""Runs torch's own caching allocator without a card; see stub_cuda.c and torch_allocator.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SUPPORT = Path(__file__).parent


def build_stub(folder):
    """Both libraries that torch looks for, from one source; skips where that cannot be."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("no C compiler to build the CUDA stub with")
    if torch.version.cuda is None:
        pytest.skip("this torch has no CUDA in it")
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        command = [compiler, "-shared", "-fPIC", "-Wall", "-O1", f"-Wl,-soname,{name}"]
        command += ["-o", str(folder / name), str(SUPPORT / "stub_cuda.c")]
        subprocess.run(command, check=True)
    return folder


def ask_torch(tasks, stub=None):
    """What torch's allocator does with each task, one after the other in one process."""
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    env = {name: text for name, text in os.environ.items() if name not in names}
    if stub is not None:
        env |= {"LD_PRELOAD": str(stub / "libcuda.so.1"), "LD_LIBRARY_PATH": str(stub)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SUPPORT / "torch_allocator.py")],
        input=json.dumps(tasks), env=env, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
