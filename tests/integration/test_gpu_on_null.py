"""The tests of tests/gpu on a null device: PyTorch's own CUDA code, where there is no GPU.

They are run in a process of their own, once, and each is a test here. What needs true values or
times is marked `gpu_only` there, and says why.
"""

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from null_device import card_of_null, unfit

from ffprof.nulldevice import environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(unfit()), reason=unfit())]

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "tests" / "gpu").glob("test_*.py"))
RUNNER = ROOT / "tests" / "support" / "gpu_tests_on_null.py"
LIMIT_SECONDS = 500


def only_gpu(mark):
    """Whether a decorator is `pytest.mark.gpu_only(...)`, and not a mark of one of the cases."""
    return isinstance(mark, ast.Call) and getattr(mark.func, "attr", "") == "gpu_only"


def names_in(path):
    """Names of the tests of a file that a null device can stand in for; it is not imported."""
    tree = ast.parse(path.read_text())
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    marks = [n.value for n in tree.body if isinstance(n, ast.Assign) and is_of_the_file(n)]
    if any(only_gpu(one) for mark in marks for one in ast.walk(mark)):
        return []
    return [n.name for n in found if not any(map(only_gpu, n.decorator_list))]


def is_of_the_file(assigned):
    return ast.unparse(assigned.targets[0]) == "pytestmark"


TESTS = [f"{path.name}::{name}" for path in FILES for name in names_in(path)]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """By the test's name, how its cases ended; and the end of what was printed."""
    folder = tmp_path_factory.mktemp("gpu on null")
    results, device = folder / "results", environment(card_of_null(), folder / "device")
    wanted = [str(path) for path in FILES if names_in(path)]
    try:
        done = subprocess.run(
            [sys.executable, str(RUNNER), str(results), *wanted],
            env={**os.environ, **device}, cwd=folder, capture_output=True, text=True,
            timeout=LIMIT_SECONDS, check=False,
        )  # fmt: skip
        printed = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        printed = f"{late}: {(late.stdout or b'').decode(errors='replace')}"
    found = defaultdict(list)
    for line in results.read_text().splitlines() if results.exists() else ():
        one = json.loads(line)
        found[Path(one["test"].partition("[")[0]).name].append(one)
    return found, printed[-3000:]


@pytest.mark.parametrize("name", TESTS)
def test_on_a_null_device(name, told):
    found, printed = told
    # What ended a whole file counts for each of its tests.
    cases = [*found[name], *found[name.partition("::")[0]]]
    assert cases, f"it was not run:\n{printed}"
    failed = [f"{one['test']}\n{one['text']}" for one in cases if one["outcome"] == "failed"]
    assert not failed, "\n\n".join(failed)
    if all(one["outcome"] == "skipped" for one in cases):
        assert "no CUDA device" not in cases[0]["text"], f"the null device is not there:\n{printed}"
        pytest.skip(cases[0]["text"])


def test_the_script_for_a_gpu_runs_a_stage_to_its_end(tmp_path):
    """benchmarks/gpu/on_gpu.sh itself, with the interpreter and the tests that it is made for."""
    out, device = tmp_path / "results", environment(card_of_null(), tmp_path / "device")
    done = subprocess.run(
        ["sh", str(ROOT / "benchmarks" / "gpu" / "on_gpu.sh"), "tests-doctor"],
        env={**os.environ, **device, "OUT": str(out), "PYTHON": sys.executable},
        capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests-doctor: done" in done.stdout
    assert "1 passed" in (out / "tests-doctor.log").read_text()
    assert (out / "tests-doctor.done").exists()
    assert f"gpu {card_of_null().name}" in (out / "provenance-tests-doctor.txt").read_text()
