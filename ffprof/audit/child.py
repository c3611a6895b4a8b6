"""What runs inside child processes: the probe of the machine, a gradient proof, or a trial.

A child answers with one message: what it found, or the outcome that kept it from finding it. An
error that it did not expect is left to become a crash, whose last line the parent reads.

The parent imports this module to name these functions, so torch is imported inside them only.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ffprof.audit.messages import Failed, Finished, Probed
from ffprof.audit.target import Target
from ffprof.audit.trying import try_work
from ffprof.errors import DataError, RefusedError, UsageError
from ffprof.hardware.memory_limit import Hold
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import FileDescription, StepDescription, addressed, telling

if TYPE_CHECKING:
    from ffprof.audit.held import Held


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
    hold: Hold | None,
) -> None:
    """Measure one workload and send ``Ready``, then ``Finished`` or ``Failed``.

    ``workload`` is the id under which it is registered, or what is known of one in a file;
    ``hold`` is what the process may take of the GPU, None on a CPU.
    """
    with telling(sender, workload):
        try_work(sender, hold, lambda held: _measure(addressed(workload), recipe, device, held))


def memory_child(
    sender: Connection, workload: str | FileDescription, recipe: Recipe, hold: Hold
) -> None:
    """Run one workload on the GPU for a few steps and send ``Ready``, then ``Probed``, ``Failed``.

    Nothing is timed. Without ``hold.limited`` it may take the whole GPU.
    """
    with telling(sender, workload):
        try_work(sender, hold, lambda held: _probe(addressed(workload), recipe, held))


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


def _measure(
    workload: Description, recipe: Recipe, device_name: str, held: Held | None
) -> Finished:
    import torch

    from ffprof.audit.timeline import instruments_for
    from ffprof.audit.trial import measure

    device = torch.device(device_name)
    if held is not None:
        held.begin()
    tools = instruments_for(device.type, held)
    if isinstance(workload, StepDescription):
        from ffprof.audit.plain import measure_step

        report = measure_step(workload, recipe, device, tools)
    else:
        report = measure(workload, recipe, device, tools)
    return Finished(report=report, debit=None if held is None else held.end(report.memory))


def _probe(workload: Description, recipe: Recipe, held: Held | None) -> Probed:
    import torch

    from ffprof.audit.memory_run import measure_memory
    from ffprof.audit.timeline import instruments_for

    if held is None:
        raise ValueError("a memory run needs a hold")
    held.begin()
    tools = instruments_for("cuda", held)
    memory = measure_memory(workload, recipe, torch.device("cuda"), tools)
    return Probed(memory=memory, debit=held.end(memory))
