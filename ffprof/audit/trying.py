"""Whatever ends a trial's work in its process becomes an outcome, or is left to be a crash."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ffprof.audit.messages import Failed, Finished, Probed, Ready
from ffprof.errors import DataError, RefusedError
from ffprof.hardware.memory_limit import Hold

if TYPE_CHECKING:
    from ffprof.audit.held import Held

# What running out of memory looks like when it is not an OutOfMemoryError.
_OOM_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "Cannot allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
# What it may look like: only where memory is nearly used up (pytorch issues 108645 and 103665).
_PERHAPS = (
    "unable to find an engine to execute this computation",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
# How torch begins to say that a process that loads data has died, wherever the trial is then.
_DEAD_WORKER = "DataLoader worker (pid"


def try_work(
    sender: Connection, hold: Hold | None, work: Callable[[Held | None], Finished | Probed]
) -> None:
    """Say ``Ready``, do the work, and send what it comes to."""
    import torch

    held = None
    try:
        held = _held(sender, hold)
        sender.send(work(held))
    except RefusedError as error:
        sender.send(Failed(outcome="refused", message=str(error)))
    except DataError as error:
        sender.send(Failed(outcome="crashed", message=str(error)))
    except torch.OutOfMemoryError as error:
        sender.send(_ran_out(error, hold, held))
    except MemoryError as error:
        sender.send(Failed(outcome="oom", message=line_of(error)))
    except RuntimeError as error:
        told = str(error)
        if told.startswith(_DEAD_WORKER):
            message = f"a data worker died: {line_of(error)}; use fewer --data-workers"
            sender.send(Failed(outcome="crashed", message=message))
            return
        perhaps = any(sign in told for sign in _PERHAPS)
        if not any(sign in told for sign in _OOM_SIGNS) and not (
            perhaps and held is not None and held.nearly_full()
        ):
            raise
        sender.send(_ran_out(error, hold, held, line_of(error)))


def _ran_out(error: BaseException, hold: Hold | None, held: Held | None, told: str = "") -> Failed:
    """Out of memory; ``told`` is what a library said that names no size.

    A process that has not even its context yet holds nothing: if there is no room, others have it.
    """
    if held is None:
        return Failed(outcome="oom", message=line_of(error), others=hold is not None)
    why = held.explain(error)
    return Failed(
        outcome="oom",
        message=f"{why.text} ({told})" if told else why.text,
        debit=held.debit(),
        others=why.others,
    )


def _held(sender: Connection, hold: Hold | None) -> Held | None:
    """Say which GPU is used, then measure what the context takes of it."""
    if hold is None:
        sender.send(Ready(gpu_uuid=None))
        return None
    from ffprof.audit.held import Held
    from ffprof.hardware.machine import gpu_uuid
    from ffprof.instruments.debit import CudaDebitMeter

    uuid = gpu_uuid()
    sender.send(Ready(gpu_uuid=uuid))
    return Held(hold, CudaDebitMeter(uuid))


def line_of(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:1000] if lines else type(error).__name__
