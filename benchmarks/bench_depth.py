"""Bytes that autograd holds for backward, by depth, on flat-D-W backbones.

32 channels, 32x32 images, batch 16: at the peak of one step, parameters not counted. For a
schedule that frees each block's graph before the next, the figure must not grow with depth.

    python benchmarks/bench_depth.py
"""

from __future__ import annotations

import torch

from ffprof.harness.data.batches import cut, make_batches
from ffprof.harness.step import build_step
from ffprof.instruments.tensors import SavedTensors
from ffprof.units import MIB
from ffprof.workload import find_preset, find_workload

NAMES = ("bp", "bp-accum", "dtg-ff", "dtg-ff-streamed", "dtg-ff-streamed-accum")
DEPTHS = (4, 8, 16, 32)


def held(name: str, depth: int) -> int:
    recipe = find_preset("small").recipe.model_copy(
        update={"backbone": f"flat-{depth}-32", "width": 1.0, "batch": 16, "micro_batch": 4}
    )
    description = find_workload(name)
    built = build_step(description, recipe, torch.device("cpu"))
    parts = cut(*make_batches(recipe, "cpu").batch(0), description.micro_batch(recipe))
    with SavedTensors(built.module.parameters()) as saved:
        built.step(parts)
    return saved.peak_bytes


def main() -> None:
    print("MiB held for backward at depth " + ", ".join(map(str, DEPTHS)))
    for name in NAMES:
        figures = [held(name, depth) for depth in DEPTHS]
        growth = figures[-1] / figures[0]
        told = "  ".join(f"{figure / MIB:8.2f}" for figure in figures)
        print(f"{name:24}{told}   depth 32 / depth 4 = {growth:.3f}")


if __name__ == "__main__":
    main()
