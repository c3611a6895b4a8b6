"""What a step of the oracle is, and the parts that most of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Step:
    """``build(device)`` makes model, optimizer and data, and returns one training step.

    ``refused`` is why the tracer must refuse it, in one of its own words; empty where it must not.
    ``prepare`` is called first, outside of any trace.
    """

    name: str
    build: Callable
    refused: str = ""
    prepare: Callable = bool


STEPS: dict[str, Step] = {}


def add(name, build, refused="", prepare=bool):
    """Register a step under a name that is free."""
    assert name not in STEPS, name
    STEPS[name] = Step(name=name, build=build, refused=refused, prepare=prepare)


SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, foreach=True)
PLAIN_SGD = partial(torch.optim.SGD, lr=0.1)
ADAMW = partial(torch.optim.AdamW, foreach=True)


def trained(
    model, data, loss, *, optimizer=ADAMW, precision=None, parts=1, clip=None, last=False,
    to_none=True, penalty=None,
):  # fmt: skip
    """The build of a usual step: forward, loss, backward, clipping, update, zeroed gradients.

    ``data()`` gives tensors on the host; ``loss(model, *tensors)`` one number. ``parts`` is over
    how many micro-batches gradients are added up, ``last`` whether tensors are channels last.
    """
    kind = LOWER.get(precision)

    def build(device):
        module = model()
        module = module.to(device, memory_format=torch.channels_last) if last else module.to(device)
        module.train()
        update = optimizer(module.parameters())
        scaler = torch.amp.GradScaler(device.type) if precision == "fp16" else None
        held = data()

        def step():
            for part in zip(*(one.chunk(parts) for one in held), strict=True):
                inputs = [one.to(device) for one in part]
                if last:
                    inputs[0] = inputs[0].to(memory_format=torch.channels_last)
                with torch.autocast(device.type, kind, enabled=kind is not None):
                    value = loss(module, *inputs) / parts
                (value if scaler is None else scaler.scale(value)).backward()
            if clip is not None:
                if scaler is not None:
                    scaler.unscale_(update)
                nn.utils.clip_grad_norm_(module.parameters(), clip)
            if scaler is None:
                update.step()
            else:
                scaler.step(update)
                scaler.update()
            update.zero_grad(set_to_none=to_none)

        return step

    return build


def normal(*shapes):
    """A function that makes normal tensors of these shapes."""
    return lambda: [torch.randn(*shape) for shape in shapes]


def squares(module, *inputs):
    """The mean square of what a module returns."""
    return module(*inputs).square().mean()


def whole(high, *shape):
    """Whole numbers below ``high``."""
    return torch.randint(0, high, shape)
