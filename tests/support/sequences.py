"""Random sequences of allocations, and the simulated allocator's answers to them."""

import random
from dataclasses import replace

from ffprof.estimator.allocator import AllocatorConfig, CachingAllocator, OutOfMemoryError

MIB = 1024 * 1024
# What stub_cuda.c says its card has.
CARD = 80 << 30
# Where a rule changes, or a size falls on it.
EDGES = [
    1, 511, 512, 513, MIB - 1, MIB, MIB + 1, 3 * MIB // 2, 10 * MIB - 1, 10 * MIB, 10 * MIB + 1,
    11 * MIB, 12 * MIB - 512, 20 * MIB, 20 * MIB + 1, 21 * MIB, 32 * MIB,
]  # fmt: skip


def sequence(seed, length, smallest, largest, live):
    """(sizes, events) with sizes between two powers of two, some of them often, some on edges."""
    rng = random.Random(seed)
    usual = [int(2 ** rng.uniform(smallest, largest)) for _ in range(12)]
    sizes, events, alive = [], [], []
    for _ in range(length):
        if alive and (len(alive) >= live or rng.random() < 0.45):
            at = rng.randrange(len(alive)) if rng.random() < 0.6 else -1
            events.append(~alive.pop(at))
        elif rng.random() < 0.01:
            events.append(None)
        else:
            kind = rng.random()
            size = int(2 ** rng.uniform(smallest, largest)) if kind < 0.4 else rng.choice(usual)
            sizes.append(rng.choice(EDGES) if kind > 0.8 else size)
            alive.append(len(sizes) - 1)
            events.append(len(sizes) - 1)
    return sizes, events


def requested_peak(sizes, events):
    now = peak = 0
    for event in events:
        if event is not None:
            now += sizes[event] if event >= 0 else -sizes[~event]
            peak = max(peak, now)
    return peak


def simulate(
    *,
    settings,
    sizes,
    events,
    capacity_bytes=None,
    allowed_bytes=None,
    tensors=False,
    ties="segment",
):
    """The same lists as torch_allocator.py gives."""
    config = replace(AllocatorConfig.parse(settings), ties=ties)
    allocator = CachingAllocator(
        capacity_bytes=capacity_bytes,
        allowed_bytes=allowed_bytes,
        card_bytes=CARD,
        config=config,
    )
    blocks, answers = {}, []
    for event in events:
        address = 0
        if event is None:
            allocator.empty_cache()
        elif event >= 0:
            try:
                blocks[event] = allocator.allocate(sizes[event])
                address = blocks[event].address
            except OutOfMemoryError:
                blocks[event] = None
        else:
            allocator.free(blocks[~event])
        answers.append(
            [
                allocator.allocated_bytes,
                allocator.reserved_bytes,
                allocator.retries,
                allocator.ooms,
                address,
            ]
        )
    return answers


def compare(mine, torchs, figures):
    """Nothing, or a text that says where the first ``figures`` of an answer differ first."""
    for position, (one, other) in enumerate(zip(mine, torchs, strict=True)):
        if one[:figures] != other[:figures]:
            return f"event {position}: simulated {one[:figures]}, torch {other[:figures]}"
    return ""
