"""What runs inside child processes: the probe of the machine, a gradient check, or a trial.

A child answers with one message: what it found, or the outcome that kept it from finding it. An
error that it did not expect is left to become a crash, whose last line the parent reads.

The parent imports this module to name these functions, so torch is imported inside them only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ffprof.errors import DataError, FfprofError, RefusedError, StoreError, UsageError
from ffprof.hardware.memory_limit import MemoryLimit
from ffprof.harness.process.failures import telling
from ffprof.harness.process.messages import (
    Assignment,
    Diverged,
    Failed,
    Finished,
    Learned,
    Probed,
    StepTime,
    TrialStart,
    Validated,
)
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.models import ModelName
from ffprof.workload.models.library import describe as describe_model
from ffprof.workload.step import StepDescription
from ffprof.workload.user_file import Source, addressed, describe

if TYPE_CHECKING:
    from ffprof.harness.budget import LimitedProcess

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
    sender: Connection,
    hold: MemoryLimit | None,
    work: Callable[[LimitedProcess | None], object],
    *,
    ready: bool = True,
) -> None:
    """Say ``TrialStart`` if that is wanted, do the work, and send what it comes to."""
    import torch

    held = None
    try:
        held = _held(sender, hold) if ready else None
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


def _ran_out(
    error: BaseException, hold: MemoryLimit | None, held: LimitedProcess | None, told: str = ""
) -> Failed:
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


def _held(sender: Connection, hold: MemoryLimit | None) -> LimitedProcess | None:
    """Say which GPU is used, then measure what the context takes of it."""
    if hold is None:
        sender.send(TrialStart(gpu_uuid=None))
        return None
    from ffprof.hardware.machine import gpu_uuid
    from ffprof.harness.budget import LimitedProcess
    from ffprof.instruments.debit import CudaDebitMeter

    uuid = gpu_uuid()
    sender.send(TrialStart(gpu_uuid=uuid))
    return LimitedProcess(hold, CudaDebitMeter(uuid))


def line_of(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:1000] if lines else type(error).__name__


def describe_child(sender: Connection, source: Source) -> None:
    """Load a file and send the descriptions in it, a tuple of ``FileDescription``."""
    with telling(sender, source):
        sender.send(describe(source))


def describe_model_child(sender: Connection, model: ModelName) -> None:
    """Ask a model's library, and send the ``ModelDescription``, or the error that says why not."""
    try:
        sender.send(describe_model(model))
    except UsageError as error:
        sender.send(error)


def probe_child(sender: Connection) -> None:
    """Send what torch finds on this machine, a ``Probe``."""
    from ffprof.hardware.machine import probe

    sender.send(probe())


def proof_child(
    sender: Connection,
    workload: str | Description,
    reference: str | Description,
    recipe: Recipe,
) -> None:
    """Compare a workload's gradients with its reference's and send the ``GradientProof``."""
    from ffprof.hardware.flags import apply_flags
    from ffprof.harness.gradient_check import prove

    apply_flags(recipe)
    with telling(sender, workload):
        try:
            sender.send(prove(addressed(workload), addressed(reference), recipe))
        except DataError as error:
            sender.send(Failed(outcome="crashed", message=str(error)))


def trial_child(
    sender: Connection,
    workload: str | Description,
    recipe: Recipe,
    device: str,
    hold: MemoryLimit | None,
) -> None:
    """Measure one workload and send ``TrialStart``, then ``Finished`` or ``Failed``.

    ``workload`` is the id under which it is registered, or what is known of one in a file;
    ``hold`` is what the process may take of the GPU, None on a CPU.
    """
    with telling(sender, workload):
        try_work(sender, hold, lambda held: _measure(addressed(workload), recipe, device, held))


def learning_child(
    sender: Connection,
    workload: str | Description,
    assignment: Assignment,
    device: str,
    hold: MemoryLimit | None,
) -> None:
    """Train one workload; send ``TrialStart``, ``EpochDone`` after epochs, ``Learned``, ``Failed``.

    Of a trial of a search, ``Validated`` stands for ``Learned``.

    What is wrong with the task's images or the checkpoint is the user's to put right, and is sent
    as the error that it is.
    """
    with telling(sender, workload):
        work = partial(_learn, sender, addressed(workload), assignment, device)
        try_work(sender, hold, work)


def memory_child(
    sender: Connection, workload: str | Description, recipe: Recipe, hold: MemoryLimit
) -> None:
    """Run a workload on the GPU for a few steps; send ``TrialStart``, then ``Probed``, ``Failed``.

    Nothing is timed. Without ``hold.limited`` it may take the whole GPU.
    """
    with telling(sender, workload):
        try_work(sender, hold, lambda held: _probe(addressed(workload), recipe, held))


def step_child(
    sender: Connection,
    pieces: Sequence[tuple[str | Description, Recipe]],
    device: str,
    hold: MemoryLimit | None = None,
) -> None:
    """Time one step of each workload under its recipe; send ``StepTime`` or ``Failed`` for each.

    With ``hold``, of a GPU, there is one workload, and ``TrialStart`` is sent first.
    """
    for workload, recipe in pieces:
        with telling(sender, workload):
            work = partial(_step_time, addressed(workload), recipe, device)
            try_work(sender, hold, work, ready=hold is not None)


def _step_time(
    workload: Description, recipe: Recipe, device: str, held: LimitedProcess | None
) -> StepTime:
    import torch

    from ffprof.harness.trial import time_step

    if held is not None:
        held.begin()
    return time_step(workload, recipe, torch.device(device))


def _measure(
    workload: Description, recipe: Recipe, device_name: str, held: LimitedProcess | None
) -> Finished:
    import torch

    from ffprof.harness.timeline import instruments_for
    from ffprof.harness.trial import measure

    device = torch.device(device_name)
    if held is not None:
        held.begin()
    tools = instruments_for(device.type, held)
    if isinstance(workload, StepDescription):
        from ffprof.harness.user_step import measure_step

        report = measure_step(workload, recipe, device, tools)
    else:
        report = measure(workload, recipe, device, tools)
    return Finished(report=report, debit=None if held is None else held.end(report.memory))


def _learn(
    sender: Connection,
    workload: Description,
    assignment: Assignment,
    device_name: str,
    held: LimitedProcess | None,
) -> Learned | Validated | Diverged | FfprofError:
    import torch

    from ffprof.harness.learning.divergence import DivergedError
    from ffprof.harness.learning.training import learn, rehearse
    from ffprof.harness.timeline import instruments_for

    device = torch.device(device_name)
    if held is not None:
        held.begin()
    tools = instruments_for(device.type, held)
    try:
        if assignment.checkpoint is None:
            return rehearse(workload, assignment, device, tools, sender.send)
        found = learn(workload, assignment, device, tools, sender.send)
    except DivergedError as error:
        return Diverged(message=str(error))
    except (DataError, StoreError, UsageError) as error:
        return error
    return found if held is None else replace(found, debit=held.end(found.memory))


def _probe(workload: Description, recipe: Recipe, held: LimitedProcess | None) -> Probed:
    import torch

    from ffprof.harness.timeline import instruments_for
    from ffprof.harness.trial import measure_memory

    if held is None:
        raise ValueError("a memory run needs a hold")
    held.begin()
    tools = instruments_for("cuda", held)
    memory = measure_memory(workload, recipe, torch.device("cuda"), tools)
    return Probed(memory=memory, debit=held.end(memory))
