"""Runs sequences of allocations through torch's own caching allocator; a process of its own.

Reads a list of {"settings", "sizes", "events", "allowed_bytes", "capacity_bytes"} as JSON; answers,
for each, with one list for every event: bytes allocated, bytes reserved, retries, OOMs, and the
address or 0. An event n >= 0 asks for sizes[n] bytes, ~n frees that, and None empties the cache.
Everything is freed between two tasks. The capacity is heeded by the stub only.
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


def run(task):
    pointers, answers = {}, []
    for event in task["events"]:
        pointer = 0
        if event is None:
            torch.cuda.empty_cache()
        elif event >= 0:
            with contextlib.suppress(torch.OutOfMemoryError):
                pointer = torch.cuda.caching_allocator_alloc(task["sizes"][event], 0, 0)
                pointers[event] = pointer
        elif ~event in pointers:
            torch.cuda.caching_allocator_delete(pointers.pop(~event))
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
    for pointer in pointers.values():
        torch.cuda.caching_allocator_delete(pointer)
    torch.cuda.empty_cache()
    return answers


if __name__ == "__main__":
    main()
