"""The operators of one training step of a network, as ffprof traces them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import torch

from ffprof.estimator.stream import Operator
from ffprof.estimator.tracing.trace import trace


def training_step(
    make: Any,
    *,
    batch: int,
    image: int,
    precision: str,
    optimizer: str,
    host_input: bool,
    classes: int = 1000,
) -> list[Operator]:
    """Operators of the second step of a training loop: forward, loss, backward, update.

    ``precision`` is fp32, amp (autocast to 2 bytes) or half (the whole model in 2 bytes);
    ``optimizer`` is sgd (with momentum, foreach) or none. Equal operators come once, with how
    often they ran.
    """
    kind = torch.bfloat16 if precision == "half" else torch.float32

    def build(device: torch.device) -> Any:
        model = make().train().to(device, kind)
        update = (
            torch.optim.SGD(
                model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=True
            )
            if optimizer == "sgd"
            else None
        )
        images = torch.empty(batch, 3, image, image, dtype=kind)
        kept = None if host_input else images.to(device)
        target = torch.zeros(batch, dtype=torch.long, device=device)

        def step() -> None:
            fed = images.to(device) if kept is None else kept
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "amp"):
                given = model(fed)
            given = given[0] if isinstance(given, tuple) else given
            torch.nn.functional.cross_entropy(given.float(), target).backward()
            if update:
                update.step()
            model.zero_grad(set_to_none=True)

        return step

    stream = trace(build)
    begins = next(place for place, name in stream.operator_marks if name == "step 1 begins")
    counted = Counter(replace(o, position=0, module="") for o in stream.operators[begins:])
    return [replace(operator, times=times) for operator, times in counted.items()]
