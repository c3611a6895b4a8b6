"""The operators of a training step, from fake tensors; stands in for ffprof.estimator.trace.

Bytes are those of the tensors an operator takes and gives, FLOPs those of torch's flop counter.
"""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ffprof.estimator.stream import Operator, Phase


class Recorder(TorchDispatchMode):
    """Writes down every operator that runs under it."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Operator] = []
        self.phase: Phase = "other"
        self.on = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self.on and func.namespace != "prim":
            self._note(func, args, kwargs, out)
        return out

    def _note(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        packet = func._overloadpacket
        taken = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        given = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        flops = 0
        if packet is torch.ops.aten.convolution_backward:
            flops = _backward_flops(args, out)
        elif packet in flop_registry:
            flops = int(flop_registry[packet](*args, **kwargs, out_val=out))
        floats = [x for x in (*taken, *given) if x.is_floating_point()]
        name = str(packet)
        if name.startswith("aten.convolution_backward"):
            # The weight and the two operands are read for each gradient that is asked for.
            taken = taken[:3]
        self.operators.append(
            Operator(
                name=name,
                phase=self.phase,
                module="",
                flops=flops,
                read_bytes=sum(x.numel() * x.element_size() for x in taken),
                written_bytes=sum(x.numel() * x.element_size() for x in given),
                element_bytes=min((x.element_size() for x in floats), default=4),
                position=0,
            )
        )


def _backward_flops(args: Any, out: Any) -> int:
    """FLOPs of a convolution's gradients: each of the two takes what the forward pass takes.

    torch's counter forgets the groups in the gradient of the weight (seen in 2.14).
    """
    grad_output, _, weight = args[:3]
    forward = 2 * grad_output.numel() * weight[0].numel()
    return int(forward * sum(gradient is not None for gradient in out[:2]))


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
    ``optimizer`` is sgd (with momentum, foreach) or none.
    """
    kind = torch.bfloat16 if precision == "half" else torch.float32
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = _fake_model(make, mode, kind)
    with mode:
        images = torch.empty(batch, 3, image, image, dtype=kind)
        target = torch.zeros(batch, dtype=torch.long)
        update = (
            torch.optim.SGD(
                model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=True
            )
            if optimizer == "sgd"
            else None
        )
        amp = (
            torch.autocast("cpu", dtype=torch.bfloat16)
            if precision == "amp"
            else contextlib.nullcontext()
        )
        with Recorder() as recorder:
            for step in range(2):
                recorder.on = step == 1
                recorder.phase = "data"
                if host_input:
                    images.clone()
                recorder.phase = "forward"
                with amp:
                    given = model(images)
                given = given[0] if isinstance(given, tuple) else given
                loss = torch.nn.functional.cross_entropy(given.float(), target)
                recorder.phase = "backward"
                loss.backward()
                recorder.phase = "optimizer"
                if update:
                    update.step()
                model.zero_grad(set_to_none=True)
    return merged(recorder.operators)


def _fake_model(make: Any, mode: FakeTensorMode, kind: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        with mode:
            return make().train()
    except (DataDependentOutputException, DynamicOutputShapeException):
        built = make().train()  # for real: its initialisation asks for values
        with FakeCopyMode(mode):
            return copy.deepcopy(built)
    finally:
        torch.set_default_dtype(before)


def merged(operators: list[Operator]) -> list[Operator]:
    """Equal operators once, with how often they ran."""
    counted = Counter(operators)
    return [replace(operator, times=times) for operator, times in counted.items()]
