"""``ffprof doctor`` on a machine with a GPU; skipped elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import ffprof

pytestmark = pytest.mark.gpu


def test_the_gpu_is_found_by_cuda_and_by_nvml_and_our_own_child_is_not_on_it():
    done = ffprof("doctor", "--device", "cuda", "--format", "json")
    found = {f["topic"]: f for f in json.loads(done.stdout)["findings"]}
    assert found["cuda"]["state"] == "ok", found["cuda"]
    assert torch.cuda.get_device_properties(0).name in found["cuda"]["seen"]
    assert found["driver"]["state"] in ("ok", "warn")
    assert found["nvml"]["state"] == "ok"
    assert "gpu-match" in found
    assert "gpu-memory" in found
    assert "ffprof" not in found.get("gpu-processes", {"seen": ""})["seen"]
    assert done.returncode == (3 if any(f["state"] == "bad" for f in found.values()) else 0)


@pytest.mark.gpu_only("takes no time for kernels, so that the host's are all there is")
def test_the_sampler_stays_within_what_is_allowed():
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_sampling.py"
    done = subprocess.run(
        [sys.executable, str(script), "--device", "cuda", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    cost = json.loads(done.stdout)
    if cost["sampling"] is None:
        pytest.skip(f"NVML cannot be asked: {cost['why']}")
    # An interval that is too wide to tell is the machine's doing; one below the line is ours.
    assert cost["verdict"] in ("kept", "not resolved"), cost
    assert cost["samples"] > 100
    assert cost["sample_milliseconds"] < 20
