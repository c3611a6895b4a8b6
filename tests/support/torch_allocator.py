"""Runs a sequence of allocations through torch's own caching allocator; a process of its own.

Reads {"sizes", "events", "allowed_bytes"} as JSON and answers with one line for every event:
[bytes allocated, bytes reserved, retries, OOMs, address or 0]. An event n >= 0 asks for sizes[n]
bytes, ~n frees that, and None empties the cache. The settings of the allocator come from the
environment.
"""

import contextlib
import json
import sys

import torch


def main():
    task = json.load(sys.stdin)
    torch.cuda.init()
    if task["allowed_bytes"]:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(task["allowed_bytes"] / total)
    pointers, answers = {}, []
    for event in task["events"]:
        pointer = 0
        if event is None:
            torch.cuda.empty_cache()
        elif event >= 0:
            with contextlib.suppress(torch.OutOfMemoryError):
                pointer = torch.cuda.caching_allocator_alloc(task["sizes"][event], 0, 0)
            pointers[event] = pointer
        elif pointers[~event]:
            torch.cuda.caching_allocator_delete(pointers[~event])
        answers.append([*figures(torch._C._cuda_memoryStats(0)), pointer])
    json.dump({"answers": answers, "total": torch.cuda.mem_get_info()[1]}, sys.stdout)


def figures(stats):
    return (
        stats["allocated_bytes"]["all"]["current"],
        stats["reserved_bytes"]["all"]["current"],
        stats["num_alloc_retries"],
        stats["num_ooms"],
    )


if __name__ == "__main__":
    main()
