"""What the harness finds a workload to be: the raw material of the fairness ledger."""

from __future__ import annotations

import os
from collections.abc import Iterable

from torch import nn

from ffprof.hardware.environment import SLEEP, WAITING
from ffprof.harness.backbone import Matched
from ffprof.harness.conformance import Observed
from ffprof.instruments.operators import Counted, sum_flops
from ffprof.records.audit import Fact
from ffprof.records.recipe import Recipe
from ffprof.workload import Description, Trainable


def gather_facts(
    description: Description,
    recipe: Recipe,
    module: Trainable,
    epoch: int | None,
    matched: Matched,
    observed: Observed,
    flags: dict[str, str | int | bool],
) -> dict[str, Fact]:
    """Facts by name; two rows differ where their values do. ``epoch`` is in images."""
    micro = description.micro_batch(recipe)
    trained = {name: p.numel() for name, p in module.named_parameters() if p.requires_grad}
    inside = sum(count for name, count in trained.items() if name in matched.parameter_names)
    optimizer = recipe.optimizer
    return {
        "method": description.method,
        "schedule": description.schedule,
        "effective_batch": recipe.batch,
        "micro_batch": micro,
        "data": f"{recipe.data} {recipe.data_fingerprint[:16]}".strip(),
        "images_per_epoch": epoch,
        "data_workers": recipe.data_workers,
        "optimizer_steps_per_epoch": None if epoch is None else epoch // recipe.batch,
        "norm": recipe.norm,
        "norm_statistics_over": _statistics(module, micro),
        "norm_momentum": _momentum(module),
        "network": description.network or "not described",
        "backbone": matched.backbone,
        "backbone_digest": matched.digest[:16],
        "backbone_parameters": inside,
        "head_parameters": sum(trained.values()) - inside,
        "parameters_with_gradient": observed.trained_parameters,
        "fixed_buffer_elements": sum(b.numel() for b in module.buffers()),
        "precision": recipe.precision,
        "loss_scaling": "GradScaler" if recipe.precision == "fp16" else "none",
        "parameter_dtypes": observed.parameter_dtypes,
        "memory_format": recipe.memory_format,
        "convolutions_fed_channels_last": observed.convolutions_channels_last,
        "optimizer": f"{optimizer.name} lr {optimizer.lr:g} wd {optimizer.weight_decay:g} "
        + ("foreach" if optimizer.foreach else "single"),
        "optimizer_step": "inside backward" if description.steps_in_backward else "after the batch",
        "not_decayed_parameters": len(module.no_weight_decay()),
        # As usual, they spin for a while.
        **({"waiting_threads": "sleep"} if os.environ.get(WAITING) == SLEEP else {}),
        **flags,
    }


def flops_facts(operators: Iterable[Counted]) -> dict[str, Fact]:
    """Floating-point operations of one optimizer step."""
    found = sum_flops(operators)
    return {"useful_flops": found.useful, "recomputed_flops": found.recomputed}


def _batch_norms(module: Trainable) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def _statistics(module: Trainable, micro: int) -> str:
    if _batch_norms(module):
        return f"{micro} images"
    alone = any("Norm" in type(part).__name__ for part in module.modules())
    return "one image" if alone else "no norm modules"


def _momentum(module: Trainable) -> float | None:
    momenta = {norm.momentum for norm in _batch_norms(module)}
    return round(momenta.pop() or 0.0, 6) if len(momenta) == 1 else None
