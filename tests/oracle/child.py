"""Runs steps on the null device, in the process that was started for them, and sends figures.

    python child.py FILE NAME...    a line of JSON a step is appended to FILE

Between two steps everything is as in a new process: nothing is allocated, nothing cached, cuBLAS
has no workspace, statistics begin at zero.
"""

import atexit
import gc
import json
import sys
from pathlib import Path

import torch
import torch._dynamo
from figures import NOT_NEW, fast_weights
from steps import STEPS

STEADY = 1  # the step whose peaks are the steady ones; those before it are cold
_MOST_EVENTS = 1_000_000


def main(path, names):
    # What was imported is never garbage: looking through it takes longer than most steps.
    gc.freeze()
    atexit.register(gc.freeze)
    with fast_weights():
        for name in names:
            if not _is_as_new():
                sys.exit(NOT_NEW)
            answer = measured(STEPS[name])
            with Path(path).open("a") as out:
                out.write(json.dumps({"name": name, **answer}) + "\n")


def measured(step):
    """Peaks and order of one step, or the error that it ended with."""
    try:
        return _peaks(step)
    except Exception as error:  # noqa: BLE001 - whatever a step raises is its own
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}


def _peaks(step):
    step.prepare()
    torch.manual_seed(0)
    torch.cuda.memory._record_memory_history(context=None, max_entries=_MOST_EVENTS)
    try:
        take = step.build(torch.device("cuda"))
        for _ in range(STEADY):
            take()
        torch.cuda.synchronize()
        cold = _both()
        torch.cuda.reset_peak_memory_stats()
        take()
        torch.cuda.synchronize()
        steady = _both()
        events = torch.cuda.memory._snapshot()["device_traces"][0]
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
    sizes = [event["size"] for event in events if event["action"] == "alloc"]
    return {"cold": cold, "steady": steady, "sizes": sizes}


def _both():
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def _is_as_new():
    """A step may leave memory that nobody can let go, such as a cycle through a hook in C++."""
    torch._dynamo.reset()
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_reserved() == 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
