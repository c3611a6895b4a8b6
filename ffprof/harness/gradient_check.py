"""Does a schedule leave the gradient of its method unchanged? Asked of the code, not believed.

The workload and its method's full-batch reference are built from the same state and given the
same images in float64 on the host; their gradients are compared parameter by parameter. The
result lands in the ledger: exact, or different by so much.

To keep this cheap, images are at most ``MAX_SIZE`` wide (or the smallest size that the workload
accepts above it) and two micro-batches are used; both are recorded. What batch statistics differ
by depends on them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ffprof.harness.data.batches import make_batches
from ffprof.harness.step import build_step
from ffprof.records.audit import GradientProof
from ffprof.records.recipe import Optimizer, Recipe
from ffprof.workload import Description

TOLERANCE = 1e-12  # relative, float64
MAX_SIZE = 32
# A step of plain SGD so long that what it subtracts is not lost in the rounding of the weights;
# and a power of two, so that dividing by it rounds nothing.
_MEASURING = Optimizer(name="sgd", lr=2.0**30, weight_decay=0.0)


def prove(workload: Description, reference: Description, recipe: Recipe) -> GradientProof:
    """Compare gradients of a workload with those of its method at full batch."""
    smaller = proof_recipe(workload, recipe)
    micro = workload.micro_batch(smaller)
    wanted = gradients(reference, smaller, smaller.batch)
    got = gradients(workload, smaller, micro)
    common = {
        "reference": reference.id,
        "batch": smaller.batch,
        "micro_batch": micro,
        "image_size": smaller.image_size,
        "tolerance": TOLERANCE,
    }
    if got.keys() != wanted.keys():
        strange = sorted(got.keys() ^ wanted.keys())
        return GradientProof(
            **common,
            relative_difference=None,
            max_relative_difference=None,
            equal=False,
            message=f"other parameters than {reference.id}: {', '.join(strange[:5])}",
        )
    worst, difference = "", 0.0
    for name in wanted:
        relative = relative_difference(got[name], wanted[name])
        if relative > difference:
            worst, difference = name, relative
    return GradientProof(
        **common,
        relative_difference=relative_difference(_flat(got), _flat(wanted)),
        max_relative_difference=difference,
        parameter=worst,
        equal=difference <= TOLERANCE,
    )


def proof_recipe(workload: Description, recipe: Recipe) -> Recipe:
    """The recipe at two micro-batches and at most about ``MAX_SIZE`` pixels a side, fp32."""
    batch = min(recipe.batch, 2 * recipe.micro_batch)
    fixed = {"batch": batch, "precision": "fp32", "memory_format": "contiguous"}
    for size in (MAX_SIZE, 2 * MAX_SIZE):
        if size < recipe.image_size:
            smaller = recipe.model_copy(update={**fixed, "image_size": size})
            if workload.objection(smaller) is None:
                return smaller
    return recipe.model_copy(update=fixed)


def gradients(
    description: Description, recipe: Recipe, micro_batch: int, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Gradients of the first effective batch at the initial weights, by parameter name."""
    images, labels = make_batches(recipe, "cpu").batch(0)
    if description.steps_in_backward:
        recipe = recipe.model_copy(update={"optimizer": _MEASURING})
    built = build_step(description, recipe, torch.device("cpu"), dtype)
    images = images.to(dtype)
    if description.steps_in_backward:
        # Its gradients are gone after the step, so they are read off what the step did.
        before = {name: p.detach().clone() for name, p in built.module.named_parameters()}
        built.step.feed(images, labels)
        named = built.module.named_parameters()
        return {name: (before[name] - p.detach()) / _MEASURING.lr for name, p in named}
    with built.update.hold():
        for part in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
            built.step.feed(*part)
    return {name: p.grad for name, p in built.module.named_parameters() if p.grad is not None}


def _flat(grads: dict[str, Tensor]) -> Tensor:
    return torch.cat([grads[name].reshape(-1) for name in sorted(grads)])


def relative_difference(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||, and 0 where both vanish."""
    distance, size = (a - b).norm().item(), b.norm().item()
    if distance == 0:
        return 0.0
    return distance / size if size else float("inf")
