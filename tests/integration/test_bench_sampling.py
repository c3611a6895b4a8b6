"""benchmarks/bench_sampling.py with real children, with and without a driver (the stub)."""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stub_nvml import HEALTHY, WORKING, build_stub, lost_after, with_stub

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
POWER = "0 nvmlDeviceGetPowerUsage"


SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_sampling.py"


def measured(env=None, code=0):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--seconds", "2.5", "--device", "cpu", "--json"],
        env=env and {**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@no_gpu
@pytest.mark.slow
def test_without_a_driver_it_sleeps_and_says_so():
    cost = measured()
    assert cost["verdict"] == "nothing to measure"
    assert cost["why"].startswith("NVML: ")
    assert (cost["sampling"], cost["samples"], cost["sample_milliseconds"]) == (None, 0, None)
    assert cost["pairs"] == 5
    assert cost["low"] <= cost["change"] <= cost["high"]


@pytest.mark.slow
def test_with_a_driver_it_samples_at_ten_hertz_in_every_other_block(tmp_path):
    build_stub(tmp_path)
    env = with_stub(tmp_path, tmp_path / "table", healthy=HEALTHY, working=WORKING)
    env["STUB_NVML_CALLS"] = str(tmp_path / "calls")
    cost = measured(env)
    assert cost["sampling"] == "NVIDIA GeForce RTX 4060"
    assert cost["verdict"] in ("kept", "broken", "not resolved")
    assert 0 < cost["sample_milliseconds"] <= cost["sample_worst_milliseconds"]
    calls = collections.Counter((tmp_path / "calls").read_text().splitlines())
    assert calls[POWER] == cost["samples"]
    assert 5 <= cost["samples"] <= 50  # five blocks of about a quarter of a second


@pytest.mark.slow
def test_a_gpu_that_is_lost_meanwhile_is_told(tmp_path):
    build_stub(tmp_path)
    answers = HEALTHY | WORKING
    env = with_stub(tmp_path, tmp_path / "table", here=answers, gone=lost_after(8, answers))
    cost = measured(env, code=1)
    assert cost["verdict"] == "not measured"
    assert cost["why"] == "samples failed: NVML: GPU is lost"


GREEDY = """
import multiprocessing, os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so that both share one processor
from bench_sampling import judge, measure_sampler
from ffprof.experiments.selection import all_workloads, find_preset
from ffprof.instruments.nvml import NullGpu

class Greedy(NullGpu):
    def sample(self):
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
        return super().sample()

if __name__ == "__main__":
    recipe = find_preset("smoke").recipe.model_copy(update={"threads": 1})
    row = next(d for d in all_workloads()[0] if d.core)
    context = multiprocessing.get_context("spawn")
    run = measure_sampler(context, row.id, recipe, "cpu", lambda uuid: Greedy("greedy"), 6)
    cost = judge(run, "cpu", "greedy", "", workload=row.id, preset="smoke")
    print(cost.verdict, cost.change, cost.sample_processor_milliseconds, sep="|")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a processor for itself")
def test_a_sampler_that_takes_the_processor_is_found_out(tmp_path):
    script = tmp_path / "greedy.py"
    script.write_text(GREEDY)
    for _ in range(3):  # beside other programs six seconds may resolve nothing
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=90,
            env={**os.environ, "PYTHONPATH": str(SCRIPT.parent)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        verdict, change, milliseconds = done.stdout.strip().split("|")
        if verdict != "not resolved":
            break
    assert verdict == "broken"
    assert float(change) < -0.1
    assert float(milliseconds) == pytest.approx(100, rel=0.1)
