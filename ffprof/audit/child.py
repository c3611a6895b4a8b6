"""What runs inside child processes: the probe of the machine, a gradient proof, or a trial.

A child answers with one message: what it found, or the outcome that kept it from finding it. An
error that it did not expect is left to become a crash, whose last line the parent reads.

The parent imports this module to name these functions, so torch is imported inside them only.
"""

from __future__ import annotations

from multiprocessing.connection import Connection

from ffprof.audit.messages import Failed, Finished, Ready
from ffprof.audit.own_file import FileDescription, StepDescription, addressed, telling
from ffprof.audit.target import Target
from ffprof.errors import DataError, RefusedError, UsageError
from ffprof.recipe import Recipe
from ffprof.workload import Description

# What running out of memory looks like when it is not an OutOfMemoryError.
_OOM_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "Cannot allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
# How torch begins to say that a process that loads data has died, wherever the trial is then.
_DEAD_WORKER = "DataLoader worker (pid"


def probe_child(sender: Connection) -> None:
    """Send what torch finds on this machine, a ``Probe``."""
    from ffprof.hardware.machine import probe

    sender.send(probe())


def proof_child(
    sender: Connection,
    workload: str | FileDescription,
    reference: str | FileDescription,
    recipe: Recipe,
) -> None:
    """Compare a workload's gradients with its reference's and send the ``GradientProof``."""
    from ffprof.audit.proof import prove
    from ffprof.hardware.flags import apply_flags

    apply_flags(recipe)
    with telling(sender, workload):
        try:
            sender.send(prove(addressed(workload), addressed(reference), recipe))
        except DataError as error:
            sender.send(Failed(outcome="crashed", message=str(error)))


def trial_child(
    sender: Connection,
    workload: str | FileDescription,
    recipe: Recipe,
    device: str,
    budget_bytes: int | None,
) -> None:
    """Measure one workload and send ``Ready``, then ``Finished`` or ``Failed``.

    ``workload`` is the id under which it is registered, or what is known of one in a file.
    """
    with telling(sender, workload):
        _try(sender, addressed(workload), recipe, device, budget_bytes)


def estimate_child(
    sender: Connection,
    workloads: list[str | FileDescription],
    recipe: Recipe,
    target: Target,
) -> None:
    """Estimate workloads for a card and send ``Finished`` or ``Failed`` for each."""
    from ffprof.audit.estimated import estimate_trial

    for workload in workloads:
        with telling(sender, workload):
            try:
                sender.send(estimate_trial(addressed(workload), recipe, target))
            except (RefusedError, UsageError) as error:
                sender.send(Failed(outcome="refused", message=str(error)))
            except DataError as error:
                sender.send(Failed(outcome="crashed", message=str(error)))


def _try(
    sender: Connection,
    workload: Description,
    recipe: Recipe,
    device: str,
    budget_bytes: int | None,
) -> None:
    import torch

    try:
        _measure(sender, workload, recipe, device, budget_bytes)
    except RefusedError as error:
        sender.send(Failed(outcome="refused", message=str(error)))
    except DataError as error:
        sender.send(Failed(outcome="crashed", message=str(error)))
    except (torch.OutOfMemoryError, MemoryError) as error:
        sender.send(Failed(outcome="oom", message=_line(error)))
    except RuntimeError as error:
        if str(error).startswith(_DEAD_WORKER):
            message = f"a data worker died: {_line(error)}; use fewer --data-workers"
            sender.send(Failed(outcome="crashed", message=message))
            return
        if not any(sign in str(error) for sign in _OOM_SIGNS):
            raise
        sender.send(Failed(outcome="oom", message=_line(error)))


def _measure(
    sender: Connection,
    workload: Description,
    recipe: Recipe,
    device: str,
    budget_bytes: int | None,
) -> None:
    import torch

    from ffprof.audit.trial import measure

    debit, uuid = None, None
    if device == "cuda":
        from ffprof.hardware.cap import apply_cap

        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        debit = apply_cap(budget_bytes).debit_bytes if budget_bytes else None
    sender.send(Ready(gpu_uuid=uuid))
    if isinstance(workload, StepDescription):
        from ffprof.audit.plain import measure_step

        report = measure_step(workload, recipe, torch.device(device))
    else:
        report = measure(workload, recipe, torch.device(device))
    sender.send(Finished(report=report, debit_bytes=debit))


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:1000] if lines else type(error).__name__
