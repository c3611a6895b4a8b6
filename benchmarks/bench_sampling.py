"""What looking at the GPU costs the measured process: the same steps with and without it.

A child takes training steps in blocks of equal time; between blocks it tells this process
whether to sample in the next one. With sampling off this process sleeps, as it does through a
trial on a CPU. The two blocks of a pair follow each other, in an order that alternates, so that
what drifts slowly falls on both alike.

    python benchmarks/bench_sampling.py [--seconds 60] [--device cpu|cuda] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.analysis.statistics.intervals import paired_ratio
from ffprof.experiments.selection import all_workloads, choose_preset
from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import Probe, resolve_threads
from ffprof.harness.process.calls import ask_child
from ffprof.harness.process.child import run_child, start_context
from ffprof.harness.worker import probe_child
from ffprof.instruments.nvml import PERIOD_SECONDS, GpuSource, NvmlError, NvmlGpu, Watch, open_gpu
from ffprof.instruments.nvml.device import open_first
from ffprof.records.recipe import Recipe

ALLOWED = 0.005  # share of throughput that sampling may cost
PAIRS_AT_LEAST = 5
BLOCK_SECONDS = 1.0
_SWITCH_SECONDS = 0.02  # for this process to have read what the next block is
_WARMUP_STEPS = 5
_PARTS = 8  # of a block
_START_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The child is warm; on a GPU, which one it uses."""

    gpu_uuid: str | None


@dataclass(frozen=True, kw_only=True)
class Switch:
    """Whether to sample from now on."""

    sampled: bool


@dataclass(frozen=True, kw_only=True)
class Block:
    """So many steps took so long."""

    sampled: bool
    steps: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SamplerRun:
    """Steps a second of paired blocks, and what each sample took of this process.

    ``problem`` says why there are no blocks.
    """

    sampled: tuple[float, ...] = ()
    alone: tuple[float, ...] = ()
    sample_seconds: tuple[float, ...] = ()  # of wall time
    processor_seconds: tuple[float, ...] = ()  # of this process's processor
    unread: tuple[str, ...] = ()  # why samples failed, each reason once
    problem: str = ""


def shape(seconds: float) -> tuple[int, float]:
    """How many pairs of blocks fill so many seconds, and the seconds of a block."""
    pairs = max(PAIRS_AT_LEAST, int(seconds / (2 * BLOCK_SECONDS)))
    return pairs, seconds / (2 * pairs)


class GpuOpener:
    """Opens the GPU that the child uses, or on a CPU the first that NVML knows.

    ``name`` is the GPU's, ``problem`` why there is none.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.problem = ""

    def __call__(self, uuid: str | None) -> NvmlGpu | None:
        """The GPU; None leaves a ``problem``."""
        try:
            gpu = open_first() if uuid is None else open_gpu(uuid)
        except NvmlError as error:
            self.problem = str(error)
            return None
        try:
            self.name = gpu.facts().name
        except NvmlError as error:
            gpu.close()
            self.problem = str(error)
            return None
        return gpu


def measure_sampler(
    context: BaseContext,
    workload: str,
    recipe: Recipe,
    device: str,
    open_source: Callable[[str | None], GpuSource | None],
    seconds: float,
) -> SamplerRun:
    """Run the blocks; takes about ``seconds`` and the start of a child.

    Args:
        context: how children are started on this device.
        workload: id of a registered one.
        recipe: what it trains.
        device: ``cpu`` or ``cuda``.
        open_source: gives the source for the UUID of the child's GPU, or None if nothing can be
            sampled; then this process sleeps through all blocks.
        seconds: of all blocks together.
    """
    pairs, block = shape(seconds)
    sampler = _Sampler(open_source)
    thread = threading.Thread(target=sampler.run, daemon=True)
    thread.start()
    try:
        ending = run_child(
            context,
            steps_child,
            (workload, recipe, device, pairs, block),
            _START_SECONDS + 10 * seconds,
            on_message=sampler.on_message,
        )
    finally:
        sampler.stop()
        thread.join()
    blocks = [message for message in ending.messages if isinstance(message, Block)]
    if len(blocks) < 2 * pairs:
        return SamplerRun(problem=ending.reason or "the child ended early")
    return SamplerRun(
        sampled=tuple(b.steps / b.seconds for b in blocks if b.sampled),
        alone=tuple(b.steps / b.seconds for b in blocks if not b.sampled),
        sample_seconds=tuple(sampler.wall),
        processor_seconds=tuple(sampler.processor),
        unread=tuple(sampler.reasons),
    )


@dataclass
class _Sampler:
    """Samples at the usual rate while it is switched on, in a thread of its own."""

    open_source: Callable[[str | None], GpuSource | None]
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)
    _on: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _source: GpuSource | None = None
    _watch: Watch | None = None

    def on_message(self, pid: int, message: Any) -> None:
        """Switch on and off as the child says."""
        if isinstance(message, Begun):
            self._source, self._watch = self.open_source(message.gpu_uuid), Watch(pid)
        elif isinstance(message, Switch) and self._source is not None:
            if message.sampled:
                self._on.set()
            else:
                self._on.clear()

    def run(self) -> None:
        """Until ``stop``."""
        while True:
            self._on.wait()
            if self._ended.wait(PERIOD_SECONDS):
                return
            if self._on.is_set():
                self._take()

    def stop(self) -> None:
        """End the thread, and release the source."""
        self._ended.set()
        self._on.set()
        if self._source is not None:
            self._source.close()

    def _take(self) -> None:
        watch, source = self._watch, self._source
        if watch is None or source is None:
            return
        before, used = time.perf_counter(), time.thread_time()
        watch.take_from(source)
        self.processor.append(time.thread_time() - used)
        self.wall.append(time.perf_counter() - before)
        if watch.reason:
            self.reasons[watch.reason] = None


def steps_child(
    sender: Connection, workload: str, recipe: Recipe, device: str, pairs: int, block_seconds: float
) -> None:
    """Send ``Begun``, then a ``Switch`` before and a ``Block`` after every block."""
    import torch

    from ffprof.hardware.flags import apply_flags
    from ffprof.harness.data.batches import cut, make_batches
    from ffprof.harness.step import build_step
    from ffprof.workload import find_workload

    apply_flags(recipe)
    description = find_workload(workload)
    built = build_step(description, recipe, torch.device(device))
    images, labels = make_batches(recipe, device).batch(0)
    parts = cut(images, labels, description.micro_batch(recipe))

    def run(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            built.step(parts)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    run(_WARMUP_STEPS)
    # The device is waited for between parts of a block only, so that it keeps its queue.
    part = max(1, round(block_seconds / _PARTS * _WARMUP_STEPS / run(_WARMUP_STEPS)))

    def block(sampled: bool) -> Block:
        steps, seconds = 0, 0.0
        while seconds < block_seconds:
            seconds += run(part)
            steps += part
        return Block(sampled=sampled, steps=steps, seconds=seconds)

    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}" if device == "cuda" else None
    sender.send(Begun(gpu_uuid=uuid))
    for pair in range(pairs):
        for sampled in (pair % 2 == 0, pair % 2 == 1):
            sender.send(Switch(sampled=sampled))
            time.sleep(_SWITCH_SECONDS)
            sender.send(block(sampled))
    sender.send(Switch(sampled=False))


@dataclass(frozen=True, kw_only=True)
class SamplerCost:
    """How much sampling changes throughput: ``change`` and its 95 % interval, as shares.

    ``sampling`` names the GPU that was looked at; where there is none, ``why`` says so, nothing is
    sampled in either half, and ``change`` tells only what these blocks can resolve. ``verdict`` is
    kept, broken, not resolved, nothing to measure, or not measured.
    """

    device: str
    verdict: str
    why: str = ""
    sampling: str | None = None
    workload: str = ""
    preset: str = ""
    pairs: int = 0
    change: float | None = None
    low: float | None = None
    high: float | None = None
    allowed: float = ALLOWED
    samples: int = 0
    sample_milliseconds: float | None = None
    sample_worst_milliseconds: float | None = None
    sample_processor_milliseconds: float | None = None


def measure_cost(device: str | None, seconds: float) -> SamplerCost:
    """Measure it with the first row of the processor's preset, whose short steps notice most.

    Without a ``device`` on the GPU if torch can use one.
    """
    preset = choose_preset(None, "cpu")
    recipe = resolve_threads(preset.recipe)
    row = next(d for d in all_workloads()[0] if d.core and d.objection(recipe) is None)
    opener = GpuOpener()
    with environment(child_environment(recipe)):
        context = start_context("forkserver")
        found, reason = ask_child(context, probe_child, Probe)
        here = "cuda" if found is not None and found.cuda else "cpu"
        device = device or here
        if found is None or (device == "cuda" != here):
            why = f"torch does not start: {reason}" if found is None else "torch can use no GPU"
            return SamplerCost(device=device, verdict="not measured", why=why)
        if device == "cuda":  # as audits start their trials: never forked beside CUDA
            context = start_context("spawn")
        run = measure_sampler(context, row.id, recipe, device, opener, seconds)
    return judge(run, device, opener.name, opener.problem, workload=row.id, preset=recipe.preset)


def judge(
    run: SamplerRun, device: str, sampling: str | None, why: str, *, workload: str, preset: str
) -> SamplerCost:
    """Paired log ratios of blocks with sampling to blocks without; see ``paired_ratio``."""
    # A sample that fails costs something else than one that is answered.
    problem = run.problem or ("samples failed: " + "; ".join(run.unread) if run.unread else "")
    if problem:
        return SamplerCost(device=device, verdict="not measured", why=problem)
    found = paired_ratio(run.sampled, run.alone)
    low = None if found.low is None else found.low - 1
    high = None if found.high is None else found.high - 1
    verdict = "not resolved"
    if sampling is None:
        verdict = "nothing to measure"
    elif low is not None and low >= -ALLOWED:
        verdict = "kept"
    elif high is not None and high < -ALLOWED:
        verdict = "broken"
    took = [1000 * seconds for seconds in run.sample_seconds]
    used = [1000 * seconds for seconds in run.processor_seconds]
    return SamplerCost(
        device=device,
        verdict=verdict,
        why=why,
        sampling=sampling,
        workload=workload,
        preset=preset,
        pairs=found.pairs,
        change=found.ratio - 1,
        low=low,
        high=high,
        samples=len(took),
        sample_milliseconds=statistics.median(took) if took else None,
        sample_worst_milliseconds=max(took) if took else None,
        sample_processor_milliseconds=statistics.fmean(used) if took else None,
    )


def in_words(cost: SamplerCost) -> list[str]:
    """Some sentences, each a line."""
    if cost.verdict == "not measured":
        return [f"The sampler's cost was not measured: {cost.why}"]
    loop = f"{cost.workload}, preset {cost.preset}, on {cost.device}, {cost.pairs} pairs of blocks"
    interval = ""
    if cost.low is not None and cost.high is not None:
        interval = f" (95 % interval {100 * cost.low:+.2f} to {100 * cost.high:+.2f} %)"
    change = f"{100 * (cost.change or 0):+.2f} %{interval}"
    if cost.sampling is None:
        return [
            f"Nothing is sampled on this machine ({cost.why}): ffprof sleeps while trials run.",
            f"Blocks of the same steps, nothing switched, differ by {change}: {loop}.",
        ]
    lines = [
        f"Sampling {cost.sampling} changes throughput by {change}, "
        f"allowed {100 * cost.allowed:.1f} %: {_VERDICTS[cost.verdict]}.",
        f"Measured with {loop}.",
    ]
    if cost.sample_milliseconds is not None:
        lines.append(
            f"One sample takes {cost.sample_milliseconds:.2f} ms (median of {cost.samples}, at "
            f"most {cost.sample_worst_milliseconds:.2f} ms), of which "
            f"{cost.sample_processor_milliseconds:.2f} ms of a processor, ten times a second."
        )
    return lines


_VERDICTS = {
    "kept": "kept",
    "broken": "more than allowed",
    "not resolved": "the interval is too wide to tell; measure longer (--seconds) or where nothing "
    "else runs",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What looking at the GPU costs.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of all blocks together")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="by default the GPU, if any")
    parser.add_argument("--json", action="store_true", help="print everything, for programs")
    asked = parser.parse_args()
    cost = measure_cost(asked.device, asked.seconds)
    print(json.dumps(asdict(cost)) if asked.json else "\n".join(in_words(cost)))
    sys.exit(1 if cost.verdict == "not measured" else 0)


if __name__ == "__main__":
    main()
