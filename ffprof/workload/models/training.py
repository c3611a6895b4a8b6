"""A network's standard training step: forward, loss, backward, update, gradients gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.errors import RefusedError
from ffprof.records.recipe import Optimizer, Precision

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Network:
    """A module on its device, and the loss of its batch, which is made once."""

    module: nn.Module
    loss: Callable[[], Tensor]


def standard_step(
    network: Network, device: Any, precision: Precision, optimizer: Optimizer
) -> Callable[[], Tensor]:
    """One optimizer step over everything that is trained of a network.

    Under bf16 and fp16 forward runs under autocast, and fp16 scales its loss. The optimizer makes
    no difference between parameters: what it decays is as large as what it does not.

    Raises:
        RefusedError: there is nothing to train.
    """
    trained = [p for p in network.module.parameters() if p.requires_grad]
    if not trained:
        raise RefusedError("it has no parameters to train", "name another model")
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer.name]
    update: torch.optim.Optimizer = kind(
        trained,
        lr=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        foreach=optimizer.foreach,
    )
    kind_of_device = torch.device(device).type
    scaler = torch.amp.GradScaler(kind_of_device) if precision == "fp16" else None
    half = HALF.get(precision)

    def step() -> Tensor:
        # Without half precision no context is entered, which would switch off one around the step.
        with torch.autocast(kind_of_device, dtype=half) if half else nullcontext():
            loss = network.loss()
        if scaler is None:
            loss.backward()
            update.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(update)
            scaler.update()
        update.zero_grad(set_to_none=True)
        return loss.detach()

    return step
