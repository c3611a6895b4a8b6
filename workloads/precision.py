"""Where autocast would cost memory for nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Autocast off for operators on x, where it is on.

    On CUDA it casts the inputs of norms to float32 and keeps the copies for backward. Norms
    without parameters need no such copy: their kernels add up in float32 anyway.
    """
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
