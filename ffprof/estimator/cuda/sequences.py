"""In which order an operator asks for memory on CUDA: its results, its scratch, its library calls.

Operators that are not here ask for copies of their inputs, then their results, then scratch and
workspaces (``ffprof.estimator.cuda.libraries``). The sequences are those of torch 2.14.1's own
code, whose allocations were watched on the null device; where that code is, is said at each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from ffprof.estimator.cuda import attention, libraries, sorts
from ffprof.estimator.cuda.reductions import reduction
from ffprof.estimator.cuda.requests import Sequence, bytes_of, copy_of, given
from ffprof.estimator.stream import Phase

_aten = torch.ops.aten
_HALVES = (torch.float16, torch.bfloat16)


def sequence_of(func: Any, args: Any, kwargs: Any, result: Any, phase: Phase) -> Sequence | None:
    """What one operator asks for; None if it is an ordinary one."""
    if func._overloadpacket in _PRODUCTS:
        copies = [n for t in args[-2:] for n in _for_cublas(t)]
        calls = libraries.calls_of(func, args, kwargs, result, phase)
        return [result, *copies, *calls] if copies else None
    describe = _SEQUENCES.get(func._overloadpacket)
    return None if describe is None else describe(args, kwargs, result)


# ---- products

_PRODUCTS = {_aten.mm, _aten.bmm, _aten.addmm, _aten.baddbmm}


def _for_cublas(t: Any) -> Sequence:
    """A copy of a matrix whose rows or columns do not lie together (prepare_matrix_for_cublas)."""
    if not isinstance(t, Tensor) or t.is_contiguous():
        return []
    (high, wide), (down, along) = t.shape[-2:], t.stride()[-2:]
    rows, columns = along == 1 and down >= max(1, wide), down == 1 and along >= max(1, high)
    return [] if rows or columns else [bytes_of(t)]


# ---- convolutions: ConvShared.cpp and Convolution.cpp in aten/src/ATen/native(/cudnn)


def _convolution(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    x, weight = args[:2]
    wanted = libraries.format_of(x, weight)
    calls = libraries.library_calls(_aten.convolution, args, result)
    return [*_moved(x, wanted), result, *_moved(weight, wanted), *calls]


def _convolution_backward(args: Any, kwargs: Any, result: Any) -> Sequence:
    grad, x, weight = args[:3]
    wanted = libraries.format_of(x, weight)
    if not libraries.is_cudnns(args):
        return _depthwise_backward(grad, result)
    calls = list(libraries.library_calls(_aten.convolution_backward, args, result))
    found: Sequence = _moved(x, wanted) if result[1] is not None else []
    copied = len(found)
    # A gradient in the wanted order of dimensions, with gaps, is copied by each of the two calls.
    moved = _moved(grad, wanted)
    each = moved if suggest_memory_format(grad) is wanted and not args[7] else []
    whole = [] if each else moved
    found += whole
    count = len(found)
    if result[0] is not None:
        own = [*_moved(weight, wanted), *each]
        found += [result[0], *own, calls.pop(0)]
        found += [-n for n in range(count + len(own), count, -1)]
        count += len(own)
    if result[1] is not None:
        found += [*each, result[1], calls.pop(0), *(-count - 1 for _ in each)]
    if whole:
        found.append(-copied - 1)
    if copied:
        found.append(-1)
    if result[2] is not None:
        found += [result[2], *_shared(grad, [0, *range(2, grad.dim())], result[2])]
    return found


def _depthwise_backward(grad: Tensor, result: Any) -> Sequence:
    copied = copy_of(grad)
    both = given(*result[:2])
    found = [*copied, *(reversed(both) if copied else both), *(-1 for _ in copied)]
    if result[2] is not None:
        found += [result[2], *_shared(grad, [0, *range(2, grad.dim())], result[2])]
    return found


def _moved(t: Tensor, wanted: torch.memory_format) -> Sequence:
    return copy_of(t, wanted) if libraries.can_be(t, wanted) else []


def _shared(x: Tensor, dims: Any, result: Tensor) -> Sequence:
    wide = max(result.element_size(), 4 if result.dtype in _HALVES else 1)
    found = reduction(x, dims, accumulator=wide)
    return [] if found is None else [found]


# ---- norms


def _batch_norm(args: Any, kwargs: Any, result: Any) -> Sequence | None:
    """Of rows of channels, by PyTorch's own kernels (Normalization.cuh)."""
    x = args[0]
    if not args[5] or not _by_rows(x):
        return None
    return [*given(*result), *_staged(x, 4)]


def _batch_norm_backward(args: Any, kwargs: Any, result: Any) -> Sequence | None:
    x = args[1]
    if not args[7] or not _by_rows(x):
        return None
    row = 4 * int(x.shape[1])
    staged = _staged(x, 2)
    sums = [row, row, *given(*result[1:]), *staged, *((-4, -3) if staged else ())]
    return [*sums, *given(result[0]), -2, -1]


def _by_rows(x: Tensor) -> bool:
    """cuDNN has no bfloat16 here, and PyTorch prefers its own for two dimensions."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    if x.dim() == 2:
        return x.is_contiguous()
    return x.dtype is torch.bfloat16 and last and not (x.is_contiguous() and x.stride(1) != 1)


def _staged(x: Tensor, values: int) -> Sequence:
    """Partial results and semaphores of ``flexible_launch_configs``."""
    stride = int(x.shape[1])
    rows = x.numel() // stride
    wide = min(_power(stride), 32)
    high = min(_power(-(-rows // 16)), 512 // wide)
    if wide * high != 512:
        wide = min(_power(stride), 512 // high)
    blocks = min(-(-rows // (high * 16)), 128)
    if blocks < 8:
        return []
    return [values * stride * blocks * 4, 4 * -(-stride // wide)]


def _power(number: int) -> int:
    return 1 << (max(number, 1).bit_length() - 1)


def _group_norm(args: Any, kwargs: Any, result: Any) -> Sequence:
    # Scale and shift of each channel of each image (group_norm_kernel.cu).
    weight, bias, count, channels, pixels = args[1:6]
    scaled = (weight is not None or bias is not None) and int(pixels) > 1
    return [*given(*result), *([4 * int(count) * int(channels)] * 2 if scaled else [])]


def _group_norm_backward(args: Any, kwargs: Any, result: Any) -> Sequence:
    weight, count, channels, pixels, groups = args[4:9]
    rows, means = 4 * int(count) * int(channels), 4 * int(count) * int(groups)
    found = [*given(*result), rows, rows]
    if result[0] is None or int(pixels) == 1:
        return found
    if weight is None:
        return [*found, means, means]
    return [*found, means, means, rows, -4, -3, -5, -2, -1]


# ---- softmax: SoftMax.cu


def _softmax(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    return [result, *copy_of(args[0])]


def _softmax_backward(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    """The product of gradient and output is made first."""
    wide = max(args[0].element_size(), args[1].element_size())
    return [result, args[0].numel() * wide, *copy_of(args[1])]


def _log_softmax_backward(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    return [result, *copy_of(args[0]), *copy_of(args[1])]


def _logsumexp(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    """The largest of each row, whether that is infinite, exponentials (ReduceOps.cpp)."""
    x, dims = args[:2]
    rows, mask = bytes_of(result), result.numel()
    return [rows, rows, mask, -3, -2, bytes_of(x), result, *_shared(x, dims, result), -4, -1]


# ---- losses


def _huber(args: Any, kwargs: Any, result: Tensor) -> Sequence | None:
    if not libraries.is_summed(args, kwargs):
        return None
    whole = torch.broadcast_tensors(*args[:2])[0]
    return [bytes_of(whole), result, *_shared(result.new_empty(whole.shape), None, result)]


def _binary(args: Any, kwargs: Any, result: Tensor) -> Sequence | None:
    reduced = args[3] if len(args) > 3 else kwargs.get("reduction", 1)
    if reduced == 0:
        return None
    return [result, result.element_size(), *_shared(args[0], None, result)]


# ---- rows by their numbers


def _embedding(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    return [*copy_of(args[1]), result]  # reshape(-1) in Embedding.cpp


def _embedding_backward(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    """Indices are sorted, and gradients added up in parts of 10 (EmbeddingBackwardKernel.cu)."""
    grad, indices, words = args[:3]
    copied = [*copy_of(grad), *copy_of(indices)]
    if indices.numel() <= sorts.FEW_INDICES and not (len(args) > 4 and args[4]):
        return [*copied, result]
    return _sorted_rows(copied, indices, int(words), int(grad.shape[-1]), result)


def _bag_backward(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    grad, indices, words, mode = args[0], args[1], args[6], args[8]
    if mode == 2:  # of a maximum there is one row
        return [result]
    return _sorted_rows(copy_of(indices), indices, int(words), int(grad.shape[-1]), result)


def _sorted_rows(
    copied: Sequence, indices: Tensor, words: int, width: int, result: Tensor
) -> Sequence:
    at, count = len(copied), indices.numel()
    each, most = count * 8, min(count, words)
    parts = count // 10 + most
    return [
        *copied,
        each, each, each, sorts.sorted_pairs(count, words.bit_length()), -at - 4, -at - 3,
        result,
        each, 8, each, sorts.unique_keys(count), -at - 8, -at - 7,
        most * 8, most * 8, sorts.running_sum(most), -at - 11,
        8, parts * 8, parts * width * 4,
        *(-at - n for n in (14, 13, 12, 10, 9, 6, 5, 2, 1)),
    ]  # fmt: skip


def _added_at(args: Any, kwargs: Any, result: Tensor, *, checked: bool = True) -> Sequence | None:
    """index_put with sums: the range of indices is checked, then they are sorted (Indexing.cu).

    What the derivative of indexing puts has been checked.
    """
    x, indices, values = args[:3]
    if not (args[3] if len(args) > 3 else kwargs.get("accumulate", False)):
        return None
    if len(indices) != 1 or indices[0] is None or indices[0].dtype is not torch.int64:
        return None
    count = indices[0].numel()
    each, bits = count * 8, int(x.shape[0]).bit_length()
    found: Sequence = []
    if checked:
        range_of = reduction(indices[0], None, accumulator=16)
        found = [8, 8, *([] if range_of is None else [range_of]), 1, -3, 1, -4, -1, -2]
    at = 4 if checked else 0
    copied = copy_of(values)
    more = len(copied)
    found += [each, each, -at - 1, *copied, each, each, each, sorts.sorted_pairs(count, bits)]
    return [*found, *(-at - n for n in range(6 + more, 1, -1))]


def _added_to_zeros(args: Any, kwargs: Any, result: Tensor) -> Sequence | None:
    found = _added_at(args, kwargs, result, checked=False)
    return found if found is None or result is args[0] else [result, *found]


# ---- copies


def _whole(args: Any, kwargs: Any, result: Tensor) -> Sequence | None:
    """Sums of another type than the input's are made of a copy in that type (ReduceOps.cpp)."""
    x = args[0]
    if x.dtype is result.dtype or (x.dtype in _HALVES and result.dtype is torch.float32):
        return None
    dims = args[1] if len(args) > 1 else kwargs.get("dim")
    copy = x.to(result.dtype)
    return [result, bytes_of(copy), *_shared(copy, dims, result)]


def _columns(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    """The result is first made as large as the input (Im2Col.cu, Col2Im.cu)."""
    x = args[0]
    if result.untyped_storage().nbytes() > bytes_of(result):
        return [*copy_of(x), result]
    at = len(copy_of(x))
    return [*copy_of(x), bytes_of(x), result, -at - 1]


def _roll(args: Any, kwargs: Any, result: Tensor) -> Sequence:
    """Along one dimension after the other (roll_common in ATen/native/TensorTransformations.h)."""
    dims = args[2] if len(args) > 2 else kwargs.get("dims", ())
    found: Sequence = copy_of(args[0])
    at = len(found)
    for number in range(1, len(dims)):
        found += [bytes_of(result), *((-at - number + 1,) if number > 1 else ())]
    return [*found, result]


def _absolute(args: Any, kwargs: Any, result: Tensor) -> Sequence | None:
    return [result, bytes_of(args[0])] if args[0].is_complex() else None


def _norms(args: Any, kwargs: Any, result: Any) -> Sequence:
    """Partial sums of each 65,536 values of all tensors (ForeachReduceOp.cu)."""
    tensors = args[0]
    most = max((math.ceil(t.numel() / 65536) for t in tensors), default=0)
    return [len(tensors) * most * 4, *given(*result)]


_SEQUENCES: dict[Any, Callable[[Any, Any, Any], Sequence | None]] = {
    _aten.convolution: _convolution,
    _aten.convolution_backward: _convolution_backward,
    _aten.native_batch_norm: _batch_norm,
    _aten.native_batch_norm_backward: _batch_norm_backward,
    _aten.native_group_norm: _group_norm,
    _aten.native_group_norm_backward: _group_norm_backward,
    _aten._scaled_dot_product_efficient_attention: attention.efficient,
    _aten._scaled_dot_product_efficient_attention_backward: attention.efficient_backward,
    _aten._scaled_dot_product_flash_attention_backward: attention.flash_backward,
    _aten._softmax: _softmax,
    _aten._log_softmax: _softmax,
    _aten._softmax_backward_data: _softmax_backward,
    _aten._log_softmax_backward_data: _log_softmax_backward,
    _aten.logsumexp: _logsumexp,
    _aten.huber_loss: _huber,
    _aten.binary_cross_entropy: _binary,
    _aten.embedding: _embedding,
    _aten.embedding_dense_backward: _embedding_backward,
    _aten._embedding_bag_backward: _bag_backward,
    _aten.index_put: _added_to_zeros,
    _aten.index_put_: _added_at,
    _aten._index_put_impl_: _added_at,
    _aten.sum: _whole,
    _aten.mean: _whole,
    _aten.prod: _whole,
    _aten.im2col: _columns,
    _aten.col2im: _columns,
    _aten.abs: _absolute,
    _aten.roll: _roll,
    _aten._foreach_norm: _norms,
}
