"""Which kernel scaled_dot_product_attention takes on CUDA, and what it keeps.

The order and the conditions are those of ``aten/src/ATen/native/transformers/cuda/sdp_utils.cpp``
for a card of compute capability 8.0 or newer: flash for half precision without a mask (with fewer
heads of keys than of queries too), else the memory-efficient kernel where the head's size is
aligned, else plain products. Kernels that ``torch.nn.attention.sdpa_kernel`` switches off are
passed over.
"""

from __future__ import annotations

from typing import Any

import torch

_aten = torch.ops.aten
_HALF = (torch.float16, torch.bfloat16)
_FLASH_HEAD = 256  # the largest head of the flash kernel
_ALIGNED_BYTES = 16  # of a head, for the memory-efficient kernel


def attend(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """The operator as CUDA would run it; the arguments are PyTorch's."""
    head = query.size(-1)
    flash = query.dtype in _HALF and attn_mask is None and head == value.size(-1) <= _FLASH_HEAD
    if query.dim() == 4 and flash and torch.backends.cuda.flash_sdp_enabled():
        padded = [_padded(t, -head % 8) for t in (query, key, value)]
        out = _aten._scaled_dot_product_flash_attention.default(
            *padded, dropout_p, is_causal, False, scale=scale or head**-0.5
        )[0]
        return out[..., :head] if head % 8 else out
    aligned = head * query.element_size() % _ALIGNED_BYTES == 0
    plain = query.dim() != 4 or enable_gqa or not aligned
    if not plain and torch.backends.cuda.mem_efficient_sdp_enabled():
        keeps = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
        return _aten._scaled_dot_product_efficient_attention.default(
            query, key, value, _bias(attn_mask, query), keeps, dropout_p, is_causal, scale=scale
        )[0]
    return _aten._scaled_dot_product_attention_math.default(
        query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale,
        enable_gqa=enable_gqa,
    )[0]  # fmt: skip


def _padded(t: Any, by: int) -> Any:
    return torch.nn.functional.pad(t, (0, by)) if by else t


def _bias(mask: Any, query: Any) -> Any:
    if mask is None or mask.dtype is not torch.bool:
        return mask if mask is None else mask.expand(*query.shape[:2], *mask.shape[-2:])
    bias = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), -torch.inf)
    return bias.expand(*query.shape[:2], *mask.shape[-2:])
