"""Seconds and live bytes of a step, by group of operators, for every workload of a recipe.

Seconds: the median of steps without a profiler, shared out as torch.profiler's self times on the
CPU say. Live bytes: what is alive at the peak of a step, by the operator that made it. Both are
held against the convolution floor of the same net: the time that its convolutions alone take,
forward and backward with both gradients, full batch, in the layout that bp feeds them; and the
bytes that they cannot do without: parameters, optimizer state and convolution inputs.

    python benchmarks/bench_operators.py [preset] [steps] [workload,...]

Prints Markdown. Workloads take turns, so that they share what disturbs the machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from ffprof.hardware.environment import child_environment
from ffprof.hardware.flags import apply_flags
from ffprof.hardware.machine import resolve_threads
from ffprof.harness.data.batches import cut, make_batches
from ffprof.harness.step import Built, build_step
from ffprof.instruments.tensors import LiveTensors
from ffprof.records.recipe import Recipe
from ffprof.units import MIB
from ffprof.workload import find_preset, find_workload, workload_names

# The first that matches counts, for an operator or, failing that, for the one that called it.
GROUPS = {
    "optimizer": ("Optimizer", "_foreach", "_fused"),
    "conv": ("convolution", "conv2d"),
    "norm": ("batch_norm", "layer_norm", "group_norm", "GroupNorm"),
    "pool": ("max_pool",),
    "matmul": ("mm", "matmul", "linear"),
    "copy": ("copy_", "clone", "contiguous", "cat", "_to_copy", "index"),
    "elementwise": (
        "relu", "threshold", "clamp", "mul", "div", "add", "sub", "neg", "sum", "mean", "square",
        "pow", "sqrt", "Energies", "softmax", "nll_loss", "sigmoid", "softplus", "cos", "exp",
    ),
}  # fmt: skip
COLUMNS = [*GROUPS, "other"]


def group_of(operator: str) -> str | None:
    bare = operator.removeprefix("aten::")
    for group, words in GROUPS.items():
        if any(word in bare for word in words):
            return group
    return None


class ByOperator(LiveTensors):
    """Live bytes at the peak, by the group of the operator that made them."""

    def __init__(self, device_type: str, held: Iterable[torch.Tensor]) -> None:
        self._made: dict[int, str] = {}
        self._live: Counter[str] = Counter()
        self._group = "held"
        self.at_peak: dict[str, int] = {}
        super().__init__(device_type, held)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._group = group_of(str(func)) or "other"
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _see(self, tensor: torch.Tensor) -> None:
        before, key = self.live_bytes, tensor.untyped_storage()._cdata
        peak = self.peak_bytes
        super()._see(tensor)
        if self.live_bytes != before:
            self._made[key] = self._group
            self._live[self._group] += self.live_bytes - before
            if self.peak_bytes > peak:
                self.at_peak = dict(self._live)

    def _released(self, key: int) -> None:
        before = self.live_bytes
        super()._released(key)
        if before != self.live_bytes:  # not an empty one
            self._live[self._made.pop(key)] -= before - self.live_bytes


class Subject:
    """A workload with its first batch, and what was found out about it."""

    def __init__(self, name: str, recipe: Recipe) -> None:
        description = find_workload(name)
        self.name = name
        self.built: Built = build_step(description, recipe, torch.device("cpu"))
        self.parts = cut(*make_batches(recipe, "cpu").batch(0), description.micro_batch(recipe))
        self.seconds: list[float] = []

    def step(self) -> None:
        """Take one step and note its time."""
        started = time.perf_counter()
        self.built.step(self.parts)
        self.seconds.append(time.perf_counter() - started)

    def shares(self) -> dict[str, float]:
        """How a step's time is shared out between groups."""
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as prof:
            for _ in range(3):
                self.built.step(self.parts)
        times: Counter[str] = Counter()
        for event in prof.events() or ():
            caller, group = event, group_of(event.name)
            while caller.cpu_parent is not None:
                caller = caller.cpu_parent
                above = group_of(caller.name)
                group = "optimizer" if above == "optimizer" else group or above
            times[group or "other"] += event.self_cpu_time_total
        total = sum(times.values())
        return {column: times[column] / total for column in COLUMNS}

    def live(self) -> dict[str, int]:
        """Bytes at the peak by group."""
        module, update = self.built.module, self.built.update
        held = [*module.parameters(), *module.buffers(), *update.state_tensors()]
        with ByOperator("cpu", held) as live:
            self.built.step(self.parts)
        return live.at_peak


def convolution_floor(recipe: Recipe, steps: int) -> tuple[float, int]:
    """Seconds of all convolutions of a step, and the bytes that they need."""
    subject = Subject("bp", recipe)
    calls: list[tuple[nn.Conv2d, torch.Tensor]] = []
    hooks = [
        part.register_forward_pre_hook(lambda m, inputs: calls.append((m, inputs[0].detach())))
        for part in subject.built.module.modules()
        if isinstance(part, nn.Conv2d)
    ]
    subject.built.step(subject.parts)
    for hook in hooks:
        hook.remove()
    inputs = [
        (conv, x.clone().requires_grad_(number > 0)) for number, (conv, x) in enumerate(calls)
    ]
    grads = [torch.randn_like(conv(x)) for conv, x in inputs]
    taken = []
    for _ in range(steps):
        started = time.perf_counter()
        for (conv, x), grad in zip(inputs, grads, strict=True):
            targets = (conv.weight, x) if x.requires_grad else (conv.weight,)
            torch.autograd.grad(conv(x), targets, grad)
        taken.append(time.perf_counter() - started)
    module, update = subject.built.module, subject.built.update
    held = [*module.parameters(), *module.buffers(), *update.state_tensors()]
    return statistics.median(taken), sum(t.nbytes for t in [*held, *(x for _, x in inputs)])


def table(title: str, unit: str, rows: list[list[str]]) -> None:
    print(f"\n{title}\n")
    header = ["workload", unit, "/ floor", *COLUMNS]
    print("| " + " | ".join(header) + " |")
    print("|:---|" + "---:|" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    preset = sys.argv[1] if len(sys.argv) > 1 else "small"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    names = sys.argv[3].split(",") if len(sys.argv) > 3 else workload_names()
    recipe = resolve_threads(find_preset(preset).recipe)
    apply_flags(recipe)
    subjects = [Subject(name, recipe) for name in names]
    for number in range(steps + 2):
        for subject in subjects:
            subject.step()
            if number < 2:
                subject.seconds.clear()
    floor_seconds, floor_bytes = convolution_floor(recipe, steps)
    times, bytes_ = [], []
    for subject in subjects:
        middle = statistics.median(subject.seconds)
        parts = [f"{middle * share * 1e3:.1f}" for share in subject.shares().values()]
        ratio = f"{middle / floor_seconds:.2f}"
        times.append([subject.name, f"{middle * 1e3:.1f}", ratio, *parts])
        live = subject.live()
        peak, held = sum(live.values()), live.pop("held", 0)
        parts = [f"{live.get(column, 0) / MIB:.2f}" for column in COLUMNS[:-1]]
        parts.append(f"{(live.get('other', 0) + held) / MIB:.2f}")
        ratio = f"{peak / floor_bytes:.2f}"
        bytes_.append([subject.name, f"{peak / MIB:.2f}", ratio, *parts])
    print(
        f"preset {preset}, {recipe.threads} threads, medians of {steps} steps; convolution floor "
        f"{floor_seconds * 1e3:.1f} ms, {floor_bytes / MIB:.2f} MiB"
    )
    table("Milliseconds a step", "ms", times)
    table("MiB alive at the peak (other: with parameters and optimizer state)", "MiB", bytes_)


if __name__ == "__main__":
    import os

    # glibc reads these at start only, so the script begins again with what trials have.
    wanted = {k: v for k, v in child_environment(find_preset("small").recipe).items() if v}
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    main()
