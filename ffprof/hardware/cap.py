"""Hold PyTorch's CUDA allocator to a budget.

The budget is what a process may take on the target card; context and libraries take their part
first. That debit is measured here as what is used on the device after the context exists and
before the allocator holds anything, so the GPU should be otherwise empty. Libraries that load
later (cuDNN, cuBLAS workspaces outside the allocator) are not in it yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Cap:
    """What was debited, and what the allocator may reserve, in bytes."""

    debit_bytes: int
    limit_bytes: int


def apply_cap(budget_bytes: int) -> Cap:
    """Limit the allocator of this process to the budget less the debit.

    Raises:
        torch.OutOfMemoryError: the debit alone exceeds the budget.
    """
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    debit = total - free - torch.cuda.memory_reserved()
    limit = budget_bytes - debit
    if limit <= 0:
        raise torch.OutOfMemoryError(
            f"context and other processes use {debit} bytes, more than the budget {budget_bytes}"
        )
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    return Cap(debit_bytes=debit, limit_bytes=min(limit, total))
