"""How many allocations and frees a second the simulated caching allocator takes.

The stream is made like that of a residual net under momentum: parameters, then for every step
activations that live until backward, temporaries, gradients that live until the next step, and
momentum from the first step on. Every setting takes its turn; the best of five counts.

    python benchmarks/bench_allocator.py [steps]

Prints Markdown.
"""

from __future__ import annotations

import sys
import time

from ffprof.estimator.allocator import AllocatorConfig, CachingAllocator
from ffprof.estimator.replay import Run, replay
from ffprof.estimator.snapshot import snapshot
from ffprof.estimator.stream import Allocation, Category, Phase, Stream
from ffprof.units import MIB, format_bytes

SETTINGS = ("", "expandable_segments:True", "max_split_size_mb:128", "roundup_power2_divisions:4")
# Blocks, channels and side of the four stages of a ResNet-50, batch 32, 224 x 224.
STAGES = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))
BATCH = 32


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    stream = residual(steps)
    count = len(stream.events)
    print(f"{count:,} events in {steps} steps\n")
    print("| settings | allocate and free | events/s | replay | snapshot | reserved |")
    print("|---|---|---|---|---|---|")
    for text in SETTINGS:
        config = AllocatorConfig.parse(text)
        bare = best(lambda config=config: everything(stream, config))
        whole = best(lambda config=config: replay(stream, config=config))
        taken = best(lambda config=config: snapshot(stream, config=config))
        reserved = format_bytes(replay(stream, config=config).reserved_peak_bytes)
        print(
            f"| {text or 'default'} | {bare * 1e3:.1f} ms | {count / bare:,.0f} "
            f"| {whole * 1e3:.1f} ms | {taken * 1e3:.1f} ms | {reserved} |"
        )


def everything(stream: Stream, config: AllocatorConfig) -> None:
    Run(stream, CachingAllocator(config=config), include_workspaces=True).forward(
        len(stream.events)
    )


def best(work) -> float:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def residual(steps: int) -> Stream:
    stream = Stream()

    def make(nbytes: int, category: Category, phase: Phase, module: str) -> int:
        return stream.allocate(Allocation(nbytes, category, phase, module, "aten.convolution"))

    convolutions = []
    for stage, (blocks, width, side) in enumerate(STAGES):
        for block in range(blocks):
            for at, (inputs, outputs, window) in enumerate(
                ((width * 4, width, 1), (width, width, 3), (width, width * 4, 1))
            ):
                name = f"layer{stage + 1}.{block}.conv{at + 1}"
                weight, activation = 4 * inputs * outputs * window**2, 4 * BATCH * outputs * side**2
                convolutions.append((name, weight, activation))
    for name, weight, _ in convolutions:
        for size in (weight, 1024, 1024):
            make(size, "parameter", "build", name)
    gradients: list[int] = []
    for step in range(steps):
        while gradients:
            stream.free(gradients.pop())
        kept = []
        for name, _, activation in convolutions:
            scratch = make(8 * MIB, "workspace", "forward", name)
            kept.append(make(activation, "activation", "forward", name))
            stream.free(scratch)
            for size in (activation, 512, 512):
                kept.append(make(size, "activation", "forward", name))
        for name, weight, activation in reversed(convolutions):
            flowing = [make(activation, "temporary", "backward", name) for _ in range(2)]
            gradients += [make(size, "gradient", "backward", name) for size in (weight, 512, 512)]
            for number in flowing:
                stream.free(number)
            for _ in range(4):
                stream.free(kept.pop())
        for name, weight, _ in convolutions:
            if step == 0:
                make(weight, "optimizer state", "optimizer", name)
            stream.free(make(weight, "temporary", "optimizer", name))
    return stream


if __name__ == "__main__":
    main()
