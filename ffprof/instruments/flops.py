"""Floating-point operations of a step, the useful ones and the recomputed ones apart.

Convolutions, products and attention count, by PyTorch's own formulas but for one (a multiply-add
is two); what is done element by element does not. Recomputed is what runs again to have a graph:
forward operators inside a backward pass (checkpointing), and forward operators that ran before
without a graph on as much data (two-pass schedules).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default
Passing = Literal["forward", "backward", "recompute"]


def passing() -> Passing:
    """Which pass the operator that is dispatched now belongs to."""
    if torch._C._current_autograd_node() is None:
        return "forward"
    # Backward formulas run without a graph; what records one in there is a forward done again.
    return "recompute" if torch.is_grad_enabled() else "backward"


def flops_of(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Of one operator, 0 if it is not counted."""
    if func is _CONVOLUTION_BACKWARD:
        return _backward_flops(args, result)
    count = flop_registry.get(func._overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


def _backward_flops(args: Any, result: Any) -> int:
    """Of both gradients of a convolution, as many as are asked for: each takes what forward took.

    PyTorch's own formula (2.14) forgets the groups in the gradient of the weight.
    """
    grad, x, weight, transposed = args[0], args[1], args[2], args[7]
    positions = x.numel() if transposed else grad.numel()
    gradients = sum(part is not None for part in result[:2])
    return int(2 * positions * weight[0].numel() * gradients)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One operator: ``recorded`` tells whether it made a graph; ``times``, how often it ran."""

    name: str
    passing: Passing
    recorded: bool
    flops: int
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Of one optimizer step."""

    useful: int
    recomputed: int


def sum_flops(operators: Iterable[Counted]) -> Flops:
    """Both sums over the operators of one step."""
    counted = [o for o in operators if o.flops]
    again = sum(o.flops * o.times for o in counted if o.passing == "recompute")
    forward = [o for o in counted if o.passing == "forward"]
    recorded: Counter[tuple[str, int]] = Counter()
    before: Counter[tuple[str, int]] = Counter()
    for one in forward:
        (recorded if one.recorded else before)[one.name, one.flops] += one.times
    again += sum(
        flops * min(count, recorded[name, flops]) for (name, flops), count in before.items()
    )
    return Flops(useful=sum(o.flops * o.times for o in counted) - again, recomputed=again)


class FlopCounter(TorchDispatchMode):
    """Counts while it is entered, on real tensors as on fake ones."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[Counted] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        flops = flops_of(func, args, kwargs, result)
        if flops:
            self.operators.append(
                Counted(
                    name=str(func._overloadpacket),
                    passing=passing(),
                    recorded=torch.is_grad_enabled(),
                    flops=flops,
                )
            )
        return result
