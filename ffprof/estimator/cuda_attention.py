"""Which kernel scaled_dot_product_attention takes on CUDA, and what it keeps.

The order and the conditions are those of ``aten/src/ATen/native/transformers/cuda/sdp_utils.cpp``
for a card of compute capability 8.0 or newer: flash for half precision without a mask, else the
memory-efficient kernel where the head's size is aligned, else plain products.
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
    plain = query.dim() != 4 or enable_gqa
    head = query.size(-1)
    flash = query.dtype in _HALF and attn_mask is None and head == value.size(-1)
    if not plain and flash and head <= _FLASH_HEAD:
        padded = [_padded(t, -head % 8) for t in (query, key, value)]
        out = _aten._scaled_dot_product_flash_attention.default(
            *padded, dropout_p, is_causal, False, scale=scale or head**-0.5
        )[0]
        return out[..., :head] if head % 8 else out
    if not plain and head * query.element_size() % _ALIGNED_BYTES == 0:
        keeps = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
        bias = _bias(attn_mask, query)
        return _aten._scaled_dot_product_efficient_attention.default(
            query, key, value, bias, keeps, dropout_p, is_causal, scale=scale
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
