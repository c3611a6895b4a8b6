"""Small tensors of the host stay real while a step is traced, so that they have values.

A build asks for the values of small tensors (rates from ``linspace``, indices from ``arange``),
an optimizer for the number of its step, a loop for a random order. What is made on the host from
numbers alone, or from such tensors alone, is computed; it takes no memory of the GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ffprof.estimator.standin import STAND_IN

_aten = torch.ops.aten
_FROM_NUMBERS = {
    _aten.linspace, _aten.logspace, _aten.arange, _aten.scalar_tensor, _aten.randperm,
    _aten.lift_fresh,
}  # fmt: skip
_OF_A_SIZE = {_aten.full, _aten.zeros, _aten.ones, _aten.randint, _aten.rand, _aten.randn}
_SMALL = 4096  # elements


def stays_real(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator without fake arguments is to be computed, on the host."""
    if kwargs.get("device") == STAND_IN or _elsewhere(kwargs.get("device")):
        return False
    tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
    if tensors:
        return all(t.device.type == "cpu" for t in tensors)
    if func._overloadpacket in _OF_A_SIZE:
        sizes = next((a for a in args if isinstance(a, (list, tuple))), ())
        return _product(sizes) <= _SMALL
    if func._overloadpacket is _aten.empty:  # larger ones are weights to be
        return _product(args[0]) <= 1
    return func._overloadpacket in _FROM_NUMBERS


def _elsewhere(device: torch.device | None) -> bool:
    return device is not None and torch.device(device).type != "cpu"


def _product(sizes: Any) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total
