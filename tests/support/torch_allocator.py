"""Runs sequences of allocations through torch's own caching allocator; a process of its own.

Reads a list of {"settings", "sizes", "events", "allowed_bytes", "capacity_bytes"} as JSON; answers,
for each, with one list for every event: bytes allocated, bytes reserved, retries, OOMs, and the
address or 0. An event n >= 0 asks for sizes[n] bytes, ~n frees that, and None empties the cache.
With "tensors", torch.empty asks. Everything is freed between two tasks. The capacity is heeded by
the stub only.
"""

import contextlib
import json
import os
import sys

import torch


def main():
    torch.cuda.init()
    total = torch.cuda.mem_get_info()[1]
    answers = []
    for task in json.load(sys.stdin):
        os.environ["STUB_CUDA_BYTES"] = str(task.get("capacity_bytes") or total)
        torch.cuda.set_per_process_memory_fraction((task["allowed_bytes"] or total) / total)
        settings = "expandable_segments:False,large_segment_size_mb:20," + task["settings"]
        torch._C._accelerator_setAllocatorSettings(settings)
        torch.cuda.reset_accumulated_memory_stats()
        answers.append(run(task))
    json.dump(answers, sys.stdout)


# How to allocate, to free, and to tell the address: a bare pointer, or a tensor that is let go.
WAYS = {
    "raw": (
        lambda size: torch.cuda.caching_allocator_alloc(size, 0, 0),
        torch.cuda.caching_allocator_delete,
        int,
    ),
    "tensors": (
        lambda size: torch.empty(size, dtype=torch.uint8, device="cuda"),
        lambda tensor: None,
        torch.Tensor.data_ptr,
    ),
}


def run(task):
    held, answers = {}, []
    allocate, free, address = WAYS["tensors" if task.get("tensors") else "raw"]
    for event in task["events"]:
        pointer = 0
        if event is None:
            torch.cuda.empty_cache()
        elif event >= 0:
            with contextlib.suppress(torch.OutOfMemoryError):
                held[event] = allocate(task["sizes"][event])
                pointer = address(held[event])
        elif ~event in held:
            free(held.pop(~event))
        stats = torch._C._cuda_memoryStats(0)
        answers.append(
            [
                stats["allocated_bytes"]["all"]["current"],
                stats["reserved_bytes"]["all"]["current"],
                stats["num_alloc_retries"],
                stats["num_ooms"],
                pointer,
            ]
        )
    while held:
        free(held.popitem()[1])
    torch.cuda.empty_cache()
    return answers


if __name__ == "__main__":
    main()
