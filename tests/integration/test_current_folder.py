"""The folder that one stands in is not code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import TINY, only_record, outcomes

# As the script that an installer writes.
SCRIPT = """
import sys
from ffprof.__main__ import main
if __name__ == "__main__":
    sys.exit(main())
"""
API = """
import ffprof
found = ffprof.run(
    preset="smoke", device="cpu", steps=2, threads=1, rounds=1, workloads="bp", out="audits"
)
"""
TRAP = """
import os
with open(os.environ["TRAP"], "a") as file:
    file.write(__name__ + " ")
raise SystemExit("executed")
"""


@pytest.mark.parametrize("way", ["script", "-m", "-c"])
def test_nothing_in_it_is_executed(way, tmp_path):
    stands, told = tmp_path / "stands", tmp_path / "told"
    stands.mkdir()
    # What Python itself imports to begin with it takes from here with -m and -c.
    traps = ["torch", "sklearn", "torchvision"]
    traps += ["psutil", "numpy", "workloads"] if way != "-c" else []
    traps += ["enum", "signal", "pickle", "ffprof"] if way == "script" else []
    for name in traps:
        (stands / f"{name}.py").write_text(TRAP)
    words = ["run", *TINY, "--rounds", "1", "--workloads", "bp"]
    if way == "script":
        (tmp_path / "ffprof").write_text(SCRIPT)
        command = [tmp_path / "ffprof", *words]
    else:
        command = ["-m", "ffprof", *words] if way == "-m" else ["-c", API]
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False,
        timeout=300, cwd=stands, env={**env, "TRAP": str(told)},
    )  # fmt: skip
    assert not told.exists(), told.read_text()
    assert done.returncode == 0, done.stderr
    assert outcomes(only_record(stands / "audits")) == {"bp": "ok"}


OWN = """
import json, os, subprocess, sys
import torch

def build(device):
    path = subprocess.run(
        [sys.executable, "-c", "import sys; print(repr(sys.path[0]))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()
    with open(os.environ["TOLD"], "w") as file:
        json.dump([path, os.environ.get("PYTHONSAFEPATH"), sys.path[0]], file)
    p = torch.zeros(1, requires_grad=True)
    def step():
        (p * p).sum().backward()
        p.grad = None
        return p.sum()
    return step
"""


def test_what_a_workload_starts_is_its_own_affair(tmp_path):
    """It has Python's usual path again."""
    (tmp_path / "mine.py").write_text(OWN)
    env = {**os.environ, "TOLD": str(tmp_path / "told")}
    env.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, "-m", "ffprof", "run", *TINY, "--rounds", "1", "--workload-file",
         "mine.py", "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "told").read_text())[:2] == ["''", None]
    assert Path(json.loads((tmp_path / "told").read_text())[2]) != tmp_path
