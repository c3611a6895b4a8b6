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

from ffprof.estimator.cuda import requests

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
    lowest = torch.scalar_tensor(-torch.inf, dtype=query.dtype, device=mask.device)
    bias = torch.where(mask, 0.0, lowest)
    return bias.expand(*query.shape[:2], *mask.shape[-2:])


# In which order the kernels ask for memory: attention.cu and attention_backward.cu there.


def efficient(args: Any, kwargs: Any, result: Any) -> requests.Sequence:
    """Seed and offset of random numbers come first, unless there are some: then on the host."""
    out, sums, seed, offset = result
    drawn = len(args) > 5 and args[5]
    return requests.given(out, sums) if drawn else requests.given(seed, offset, out, sums)


def efficient_backward(args: Any, kwargs: Any, result: Any) -> requests.Sequence:
    """For compute capability 8.6 and 8.9, whose blocks are of 64 queries, or 128 (see below).

    float32: products of gradient and result, their sums by row, those in another order. Then a
    block of partial gradients of the queries for each 64 columns, with a lock of 16 bytes; for
    half precision and heads of more than 96, also the gradients of keys and values in float32.
    """
    grad, query, key = args[:3]
    batch, heads, queries, head = query.shape
    copied = requests.copy_of(grad.transpose(1, 2))
    found: requests.Sequence = [*copied, *requests.given(*result)]
    rows, many = batch * heads * queries * 4, batch * heads
    at = len(copied)
    if query.dtype is torch.float32:
        blocks = many * -(-queries // 64) * -(-head // 64) * (64 * 64 * 4 + 16)
        found += [requests.bytes_of(grad), rows, rows, -at - 2, -at - 1, blocks]
        return [*found, -at - 3, -at - 4]
    high = 64 if head <= 64 or 96 < head <= 128 else 128
    partial = -(-queries // high) * -(-head // 64) * (high * 64 * 4 + 16)
    if head > 96:
        partial += 2 * -(-int(key.shape[2]) // 64) * 64 * -(-head // 128) * 128 * 4
    return [*found, rows, many * partial, -at - 1, -at - 2]


def flash_backward(args: Any, kwargs: Any, result: Any) -> requests.Sequence:
    """Sums by row and float32 gradients of queries, both for multiples of 128 queries.

    With fewer heads of keys, their gradients are first made for every head of queries.
    """
    grad, query, key, _value, out = args[:5]
    batch, heads, queries, head = query.shape
    copied = [*requests.copy_of(grad.transpose(1, 2)), *requests.copy_of(out.transpose(1, 2))]
    rows = batch * heads * -(-queries // 128) * 128 * 4
    wide = -(-head // 32) * 32 if head <= 128 else -(-head // 64) * 64
    found = [*copied, *requests.given(*result), rows, rows * wide]
    more = key.shape[1] != heads
    if more:
        found += [batch * int(key.shape[2]) * heads * head * query.element_size()] * 2
    scratch = len(copied) + (4 if more else 2)
    return [*found, *(-n for n in range(scratch, 0, -1))]
