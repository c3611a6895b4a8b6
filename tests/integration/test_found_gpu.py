"""benchmarks/gpu/found_gpu.py: estimates for the GPU that is compared with."""

import sys
from pathlib import Path

from ffprof.hardware.machine import Probe
from ffprof.harness.process.child import start_context
from ffprof.workload import find_preset

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"))

from found_gpu import estimate, target_of


def test_estimates_are_made_for_the_gpu_that_was_found_not_for_a_card():
    """cuBLAS takes workspaces by compute capability: 32 MiB from 9.0 on."""
    server, made = start_context("forkserver"), find_preset("smoke").recipe
    peaks = {}
    for capability in ((9, 0), (8, 6)):
        found = Probe(cuda=True, gpu_total_bytes=80 << 30, capability=capability)
        row, told, _ = estimate(server, "bp", made, target_of(found), 60.0)
        assert row is not None, told
        assert row.outcome == "ok"
        peaks[capability] = row.memory.allocated_peak_bytes
    assert peaks[9, 0] - peaks[8, 6] > 8 << 20
