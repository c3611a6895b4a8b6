"""What a sequence of requests for memory is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ffprof.estimator.stream import Scratch

# A number n > 0 asks for n bytes of scratch, -n gives the n-th of them back; a tensor is a result;
# a call asks for workspace and gives it back. What is left of scratch ends with the operator.
Sequence = list["int | Tensor | Scratch"]


def bytes_of(t: Tensor) -> int:
    """Of a dense tensor of its shape."""
    return t.numel() * t.element_size()


def copy_of(t: Tensor, wanted: torch.memory_format = torch.contiguous_format) -> Sequence:
    """A copy of what is not in that format."""
    return [] if t.is_contiguous(memory_format=wanted) else [bytes_of(t)]


def given(*results: Any) -> Sequence:
    """Those results that there are."""
    return [r for r in results if isinstance(r, Tensor)]
