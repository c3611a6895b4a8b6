"""Where autograd adds up the gradients of a tensor that was used more than once.

The engine keeps the gradients of a node's inputs in a buffer until all have arrived. The second is
added to the first in place, if the buffer holds the last reference to a dense tensor of its own
storage, and into new memory otherwise (``can_accumulate_inplace`` and ``InputBuffer::accumulate``
in torch/csrc/autograd/input_buffer.cpp). It never does so with tensor subclasses or under a
dispatch mode, so a traced step asks for a sum each time. Here it is found out whether CUDA would.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_SUM = torch.ops.aten.add.Tensor
# Derivatives of what picks values write into zeros of their own in place, and for tensor subclasses
# into a new tensor (value_selecting_reduction_backward_symint in ATen/native/ReduceOps.cpp,
# index_backward in torch/csrc/autograd/FunctionsManual.cpp).
MAKES_ZEROS = (torch.ops.aten.new_zeros.default, torch.ops.aten.zeros.default)
WRITES = (
    torch.ops.aten.scatter.src,
    torch.ops.aten.scatter.value,
    torch.ops.aten.index_put.default,
)


def sum_in_place(func: Any, args: Any, last: tuple[int, int]) -> Tensor | None:
    """The tensor that takes the sum in place of a new one; None if a new one is made.

    To be asked directly by a ``__torch_dispatch__``, during a backward pass; ``last`` is what
    ``last_reference`` says. A sum of temporaries in the C++ of a derivative looks the same to it;
    hardly any has one (atan2).
    """
    if func is not _SUM or torch.is_grad_enabled():
        return None
    held, added = args[0], args[1]
    if not isinstance(added, Tensor) or held.shape != added.shape or held.dtype != added.dtype:
        return None
    if _references(held) != last or not _is_dense(held):
        return None
    return held  # type: ignore[no-any-return]


def _references(tensor: Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return tensor._use_count(), torch._C._storage_Use_Count(storage._cdata)  # type: ignore[attr-defined]


def _is_dense(tensor: Tensor) -> bool:
    """Every element has a place of its own, and there are no gaps between them."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


@cache
def last_reference() -> tuple[int, int]:
    """How often a gradient and its storage are held where only the engine holds them.

    A dispatch mode looks at it, for which the dispatcher and Python hold it as well, and how often
    they do depends on torch: so it is tried out. Not to be asked from within a dispatch mode.
    """
    counted: list[tuple[int, int]] = []

    class Look(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is _SUM:
                held = args[0]
                counted.append(_references(held))
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(), torch.enable_grad(), Look():  # type: ignore[no-untyped-call]
        x = torch.empty(2, requires_grad=True)
        (x.sin() * x.cos()).backward(torch.empty(2))
    return counted[0]
