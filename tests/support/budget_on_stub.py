"""Runs processes under a hold with torch's own allocator, on a CUDA that only counts memory.

Reads a list of {"hold", "readings", "cached", "later"} as JSON: the hold's fields, the debits that
the meter gives one after the other, MiB that are allocated and let go in the first step, and MiB
that are asked for after it. Answers with what happened to each; they follow one another in one
process, which is made as good as new between them.
"""

import json
import sys

import torch

from ffprof.hardware.memory_limit import MemoryLimit
from ffprof.harness.budget import LimitedProcess
from ffprof.instruments.debit import ReplayedDebit
from ffprof.records.trial import Memory

MIB = 2**20


def main():
    torch.cuda.init()
    json.dump([run(task) for task in json.load(sys.stdin)], sys.stdout)


def run(task):
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = LimitedProcess(MemoryLimit(**task["hold"]), ReplayedDebit(*task["readings"]))
    answer = {"oom": None, "debit": None, "reserved": None}
    try:
        held.begin()
        cached = [torch.empty(n * MIB, dtype=torch.uint8, device="cuda") for n in task["cached"]]
        del cached
        held.first_step()
        kept = [torch.empty(n * MIB, dtype=torch.uint8, device="cuda") for n in task["later"]]
        memory = Memory(reserved_peak_bytes=torch.cuda.memory_reserved())
        answer["debit"] = held.end(memory).model_dump()
        del kept
    except torch.OutOfMemoryError as error:
        answer["oom"] = held.explain(error).text
        answer["torch"] = str(error)
    answer["reserved"] = torch.cuda.max_memory_reserved()
    return answer


if __name__ == "__main__":
    main()
