"""Which operators a step is counted by: for one device type the same on real and on fake tensors.

A step on a CPU runs others than its trace for a GPU; docs/record.md has a table of the differences.

An operator counts by the name that PyTorch's dispatcher knows it by, below autograd and autocast
(``aten::convolution_backward``), whatever its overload. Views and what only makes memory do no
work on a device and do not count, nor does what touches no tensor of the step's device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LONGEST_NAME = 100  # that a record holds
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
        counts[told[:LONGEST_NAME]] += times
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
