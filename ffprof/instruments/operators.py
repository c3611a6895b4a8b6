"""The operators that a step runs: how many, and how many floating-point operations they take.

An operator counts by the name that PyTorch's dispatcher knows it by, below autograd and autocast
(``aten::convolution_backward``), whatever its overload. Views and what only makes memory do no
work on a device and do not count, nor does what touches no tensor of the step's device. For one
device type the count is the same on real and on fake tensors; a step on a CPU runs others than its
trace for a GPU, and docs/record.md has a table of the differences.

Floating-point operations are useful or recomputed. Convolutions, products and attention count, by
PyTorch's own formulas but for one (a multiply-add is two); what is done element by element does
not. Recomputed is what runs again to have a graph: forward operators inside a backward pass
(checkpointing), and forward operators that ran before without a graph on as much data (two-pass
schedules).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

LONGEST_NAME = 100  # that a record holds
# Batch normalisation counts by one name, whether CUDA's own kernels do it or cuDNN's: that depends
# on the size of the batch, and a trace has no device to ask.
_ONE_NAME = {
    "aten::cudnn_batch_norm": "aten::native_batch_norm",
    "aten::cudnn_batch_norm_backward": "aten::native_batch_norm_backward",
}
_MAKE_MEMORY = frozenset(
    {
        torch.ops.aten.empty.memory_format,
        torch.ops.aten.empty_like.default,
        torch.ops.aten.empty_strided.default,
        torch.ops.aten.new_empty.default,
        torch.ops.aten.new_empty_strided.default,
        torch.ops.aten.detach.default,
    }
)


def does_work(func: Any) -> bool:
    """Whether an operator touches what is in its tensors."""
    return not func.is_view and func not in _MAKE_MEMORY


def add_up(operators: Iterable[tuple[str, int]]) -> dict[str, int]:
    """(name, how often) pairs summed by name, in the order of names.

    Names may be as Python knows them (``aten.mm``).
    """
    counts: Counter[str] = Counter()
    for name, times in operators:
        told = name if "::" in name else name.replace(".", "::", 1)
        counts[_ONE_NAME.get(told, told)[:LONGEST_NAME]] += times
    return dict(sorted(counts.items()))


class OperatorCounter(TorchDispatchMode):
    """Counts what works on tensors of one device type while it is entered."""

    def __init__(self, device_type: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device_type = device_type
        self._counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if does_work(func) and self._is_here((args, kwargs, result)):
            self._counts[func._schema.name] += 1
        return result

    def _is_here(self, values: Any) -> bool:
        return any(
            isinstance(leaf, torch.Tensor) and leaf.device.type == self._device_type
            for leaf in tree_leaves(values)
        )

    def counts(self) -> dict[str, int]:
        """How often each ran, in the order of names."""
        return add_up(self._counts.items())


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
    """Of both gradients of a convolution, as many as are requested: each takes what forward took.

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
