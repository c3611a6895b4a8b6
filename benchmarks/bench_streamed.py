"""The streamed local schedule against bp on the CPU, by width, and where the time goes.

Steps of both alternate in one process; the ratio is of median step times. The second table is
from torch.profiler: self time on the CPU by group of operators, milliseconds a step.

    python benchmarks/bench_streamed.py [steps]
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

from ffprof.hardware.environment import child_environment
from ffprof.hardware.flags import apply_flags
from ffprof.hardware.machine import resolve_threads
from ffprof.harness.data.batches import cut, make_batches
from ffprof.harness.step import build_step
from ffprof.records.recipe import Recipe
from ffprof.workload import find_preset, find_workload

NAMES = ("bp", "dtg-ff", "dtg-ff-streamed")
GROUPS = {  # the first that matches counts
    "conv backward": ("convolution_backward",),
    "conv forward": ("convolution", "conv2d"),
    "norms": ("batch_norm", "layer_norm"),
    "relu": ("threshold", "relu", "clamp"),
    "pool": ("max_pool",),
    "elementwise": ("pow", "square", "sum", "mean", "sqrt", "mul", "div"),
    "optimizer": ("Optimizer", "lerp", "addcdiv", "addcmul", "foreach"),
}


def prepare(name: str, recipe: Recipe):
    description = find_workload(name)
    built = build_step(description, recipe, torch.device("cpu"))
    return built.step, cut(*make_batches(recipe, "cpu").batch(0), description.micro_batch(recipe))


def group_of(operator: str) -> str:
    bare = operator.removeprefix("aten::")
    for group, words in GROUPS.items():
        if any(word in bare for word in words):
            return group
    return "other"


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for width in (0.25, 0.5, 1.0):
        recipe = resolve_threads(find_preset("small").recipe.model_copy(update={"width": width}))
        apply_flags(recipe)
        ready = {name: prepare(name, recipe) for name in NAMES}
        times: dict[str, list[float]] = {name: [] for name in NAMES}
        for number in range(steps + 3):
            for name, (step, parts) in ready.items():
                started = time.perf_counter()
                step(parts)
                if number >= 3:
                    times[name].append(time.perf_counter() - started)
        middle = {name: statistics.median(values) for name, values in times.items()}
        told = ", ".join(f"{name} {1e3 * middle[name]:.1f} ms" for name in NAMES)
        print(f"width {width:g}: {told}")
        for name in NAMES[1:]:
            print(f"  {name} runs at {middle['bp'] / middle[name]:.2f}x the throughput of bp")
        for name, (step, parts) in ready.items():
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                for _ in range(5):
                    step(parts)
            spent: dict[str, float] = {}
            for event in profiler.key_averages():
                group = group_of(event.key)
                spent[group] = spent.get(group, 0.0) + event.self_cpu_time_total / 5e3
            listed = sorted(spent.items(), key=lambda item: -item[1])
            print(f"  {name:16}" + ", ".join(f"{g} {ms:.1f}" for g, ms in listed))


if __name__ == "__main__":
    import os

    # The C library reads these when a process starts, so start over in the trials' environment.
    wanted = child_environment(find_preset("small").recipe)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        kept = {k: v for k, v in os.environ.items() if wanted.get(k, v) is not None}
        os.execve(
            sys.executable,
            [sys.executable, *sys.argv],
            {**kept, **{k: v for k, v in wanted.items() if v is not None}},
        )
    main()
