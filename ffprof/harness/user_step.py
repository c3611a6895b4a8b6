"""A step of the user's own: ``build(device) -> step``, measured as it is, with nothing matched.

It runs through the timeline of ``ffprof.harness.trial``; what needs the protocol (the harness's
batch, optimizer, precision and the checks of ``ffprof.harness.conformance``) does not apply, and
the facts say so. Memory is everything that was made after the process was ready: the model, the
optimizer's state, and the data too if the step keeps it on the device.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ffprof.errors import RefusedError
from ffprof.hardware.flags import apply_flags, read_flags
from ffprof.harness.ledger import flops_facts
from ffprof.harness.measurements import (
    loss_figures,
    memory_figures,
    present_tensors,
    tensor_passes,
    tensors_beside,
)
from ffprof.harness.process.messages import Report
from ffprof.harness.timeline import Instruments, instruments_for, run_timeline
from ffprof.records.audit import Fact
from ffprof.records.recipe import Recipe
from ffprof.workload.step import StepDescription

NOTHING = "nothing: the step is the user's own"


def measure_step(
    description: StepDescription,
    recipe: Recipe,
    device: torch.device,
    instruments: Instruments | None = None,
) -> Report:
    """Build the step and run it through the timeline, in this process.

    Raises:
        RefusedError: it is no step, or what it returns is no loss.
        torch.OutOfMemoryError: it does not fit.
    """
    tools = instruments or instruments_for(device.type)
    apply_flags(recipe)
    load_before = os.getloadavg()[0]
    known = present_tensors(device.type)
    torch.manual_seed(recipe.seed)
    step = OwnStep(description.build(recipe, device))
    course = run_timeline(step, recipe, device, tools)

    held = tensors_beside(device.type, known)
    parameters: list[Tensor] = [t for t in held if isinstance(t, nn.Parameter)]
    size = {"parameters_bytes": sum(p.nbytes for p in parameters)}
    untimed = tensor_passes(lambda _: step(), (), device.type, held, parameters)
    return Report(
        memory=memory_figures(course, untimed, size),
        throughput=course.throughput(description.micro_batch(recipe)),
        loss=None if step.silent else loss_figures(course.losses),
        conditions=course.conditions(load_before),
        facts=own_facts(description, recipe, sum(p.numel() for p in parameters))
        | flops_facts(untimed.operators),
        operators=untimed.counts,
        timed=course.timed,
        images=description.micro_batch(recipe) * len(course.laps),
    )


def own_facts(description: StepDescription, recipe: Recipe, parameters: int) -> dict[str, Fact]:
    """What can be said of a step that the harness does not feed."""
    images = description.micro_batch(recipe)
    said = "declared" if description.images is not None else "assumed: the recipe's"
    if description.takes_batch:
        said = "the recipe's, which build is given"
    return {
        "method": description.method,
        "schedule": description.schedule,
        "matched": NOTHING,
        "effective_batch": f"{images} ({said})",
        "backbone": "own: unmatched",
        "data": "own",
        "optimizer": "own",
        "precision": "own",
        "parameters": parameters,
        **read_flags(),
    }


class OwnStep:
    """Calls the user's step and makes its answer a loss, without waiting for the device."""

    tells_waiting = False  # it fetches its data itself
    ahead = 0

    def __init__(self, step: Callable[[], object]) -> None:
        if not callable(step):
            raise RefusedError(
                f"build(device) returns a {type(step).__name__}, which cannot be called",
                "return a function without arguments that does one optimizer step",
            )
        self._step = step
        self.silent = False

    def skipped(self) -> None:
        """What its optimizer leaves out is not known."""
        return

    def __call__(self) -> Tensor | float | None:
        """One step."""
        loss = self._step()
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise RefusedError(
                    f"its step returns a tensor of shape {tuple(loss.shape)}",
                    "return the mean loss, a single number, or nothing",
                )
            return loss.detach().reshape(())
        if loss is None:
            self.silent = True
            return None
        # NumPy's scalars are floats or say how to become one.
        if isinstance(loss, str | bytes | bool) or not hasattr(loss, "__float__"):
            raise RefusedError(
                f"its step returns a {type(loss).__name__}", "return the loss, or nothing"
            )
        return float(loss)
