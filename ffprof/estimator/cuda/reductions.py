"""Scratch of reductions: sums, means, norms and extremes that several thread blocks share.

Where a reduction has few results and many inputs, blocks of threads share the inputs of a result
and leave partial results in global memory, with a semaphore a column of blocks. How they share is
decided from the shape, the strides and the card (``setReduceConfig`` and ``ReduceConfig`` in
aten/src/ATen/native/cuda/Reduce.cuh, dimensions in the order of ATen/TensorIterator.cpp). Here is
what depends on the operator; the card comes in ``ffprof.estimator.cuda.workspaces``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ffprof.estimator.stream import Reduction

_aten = torch.ops.aten
_WARP = 32
_THREADS = 512  # of a block, at most
_UNROLLED = 4  # values that a thread loads at once
_LEAST_FOR_VECTORS = 128  # inputs, of one contiguous reduction
_VALUES = (16, 256)  # least and most that a thread shall reduce
_INDEXED = 2**31 - 1  # bytes; what is larger is reduced in parts
_HALVES = (torch.float16, torch.bfloat16)


def reduction(
    x: Tensor, dims: Any, *, accumulator: int = 0, unrolled: int = _UNROLLED
) -> Reduction | None:
    """How blocks share a reduction of ``x`` over ``dims`` (all if there are none).

    ``accumulator`` is the size of a partial result in bytes, by default that of an element, in
    float32 at least. None if no card would share it: threads would have too little to do.
    """
    if x.numel() == 0:
        return None
    size = x.element_size()
    accumulator = accumulator or max(size, 4 if x.dtype in _HALVES else size)
    shape, strides, reduced = _dimensions(x, dims)
    inputs = math.prod(shape[:reduced])
    if inputs < _VALUES[1] or x.numel() * size > _INDEXED:
        return None
    outputs = x.numel() // inputs
    along = reduced == len(shape) or strides[0] < strides[reduced]
    width, height = (inputs, outputs) if along else (outputs, inputs)
    vector = 1
    if along and width > _LEAST_FOR_VECTORS and len(shape) == 1 and strides[0] == 1:
        loaded = 8 if size == 2 else _UNROLLED
        width //= loaded if unrolled >= _UNROLLED else 1
    elif not along and strides[reduced] == 1:
        vector = _vector(int(x.storage_offset()), shape, strides, reduced)
        width //= vector
    lanes, warps = _block(width, height, _THREADS // vector)
    values = -(-inputs // lanes) if along else inputs
    if values < min(warps * _VALUES[0], _VALUES[1]):
        return None  # each warp has a result of its own
    values = -(-inputs // (lanes * warps)) if along else -(-inputs // warps)
    if values < _VALUES[1]:
        return None
    return Reduction(
        outputs=outputs,
        accumulator_bytes=accumulator,
        lanes=1 if along else lanes * vector,
        threads=lanes * warps,
        values=values,
        blocks=outputs if along else -(-(outputs // vector) // lanes),
    )


def reductions_of(func: Any, args: Any, kwargs: Any, result: Any) -> list[Reduction]:
    """Those of one operator, in the order in which they run."""
    describe = _REDUCE.get(func._overloadpacket)
    found = describe(args, kwargs, result) if describe is not None else None
    return [] if found is None else [found]


def _dimensions(x: Tensor, dims: Any) -> tuple[list[int], list[int], int]:
    """Shape, strides in elements, and how many are reduced, which come first; merged ones once."""
    listed = dims if isinstance(dims, (list, tuple)) else [] if dims is None else [dims]
    gone = {d % max(x.dim(), 1) for d in listed} or set(range(x.dim()))
    kept = [d for d in range(x.dim()) if d not in gone]
    out = dict(zip(kept, _contiguous([x.shape[d] for d in kept]), strict=True))
    order: list[int] = []
    for d in reversed(range(x.dim())):  # insertion, stable, the innermost first
        at = len(order)
        while at > 0 and _goes_before(x, out, d, order[at - 1]):
            at -= 1
        order.insert(at, d)
    shape: list[int] = []
    strides: list[int] = []
    outer: list[int] = []
    for d in order:
        size, stride, other = x.shape[d], x.stride(d), out.get(d, 0)
        if shape and (
            size == 1
            or shape[-1] == 1
            or (shape[-1] * strides[-1] == stride and shape[-1] * outer[-1] == other)
        ):
            if shape[-1] == 1:
                strides[-1], outer[-1] = stride, other
            shape[-1] *= size
        else:
            shape.append(size)
            strides.append(stride)
            outer.append(other)
    reduced = sum(one == 0 for one in outer)
    if not shape:
        return [1], [1], 1
    return shape, strides, reduced


def _goes_before(x: Tensor, out: dict[int, int], d: int, other: int) -> bool:
    mine, its = out.get(d, 0), out.get(other, 0)
    if (mine == 0) != (its == 0):
        return mine == 0
    for a, b in ((mine, its), (x.stride(d), x.stride(other))):
        if a == 0 or b == 0:
            continue
        if a != b:
            return a < b
        if x.shape[d] < x.shape[other]:
            return True
    return False


def _contiguous(shape: list[int]) -> list[int]:
    strides = [1] * len(shape)
    for at in reversed(range(len(shape) - 1)):
        strides[at] = strides[at + 1] * max(shape[at + 1], 1)
    return strides


def _vector(offset: int, shape: list[int], strides: list[int], reduced: int) -> int:
    size = 4
    others = [s for at, s in enumerate(strides) if at != reduced]
    for number in (offset, shape[reduced], *others):
        while number % size:
            size //= 2
    return size


def _block(width: int, height: int, threads: int) -> tuple[int, int]:
    wide, high = _power(width, threads), _power(height, threads)
    lanes = min(wide, _WARP)
    warps = min(high, threads // lanes)
    return min(wide, threads // warps), warps


def _power(number: int, most: int) -> int:
    return most if number >= most else 1 << (max(number, 1).bit_length() - 1)


def _argument(args: Any, kwargs: Any, at: int, name: str) -> Any:
    return args[at] if len(args) > at else kwargs.get(name)


def _sum(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    # A half is added up in float32; a type that is asked for is that of the sum.
    return reduction(args[0], _argument(args, kwargs, 1, "dim"), accumulator=_wide(result))


def _whole(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    return reduction(args[0], None, accumulator=_wide(result))


def _norm(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    return reduction(args[0], _argument(args, kwargs, 2, "dim"), accumulator=_wide(result))


def _extreme(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    dims = _argument(args, kwargs, 1, "dim")
    return reduction(args[0], dims, accumulator=args[0].element_size())


def _place(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    # A value and its 64-bit index.
    return reduction(args[0], _argument(args, kwargs, 1, "dim"), accumulator=16)


def _extreme_or_place(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    """Of max and min: of all values, or along a dimension with the place; of two tensors, none."""
    if isinstance(result, (tuple, list)):
        return _place(args, kwargs, result)
    return _extreme(args, kwargs, result) if len(args) == 1 else None


def _variance(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    # Mean, squared deviations and two counts; two values a thread are loaded at once.
    wide = 32 if args[0].dtype is torch.float64 else 16
    dims = _argument(args, kwargs, 1, "dim")
    return reduction(args[0], dims, accumulator=wide, unrolled=2)


def _loss(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    if (args[2] if len(args) > 2 else kwargs.get("reduction", 1)) == 0:
        return None
    return reduction(torch.broadcast_tensors(*args[:2])[0], None, accumulator=_wide(result))


def _bias_gradient(args: Any, kwargs: Any, result: Any) -> Reduction | None:
    if result[2] is None:
        return None
    grad = args[0]
    return reduction(grad, [0, *range(2, grad.dim())], accumulator=_wide(result[2]))


def _wide(result: Tensor) -> int:
    return max(result.element_size(), 4 if result.dtype in _HALVES else 1)


_REDUCE: dict[Any, Callable[[Any, Any, Any], Reduction | None]] = {
    _aten.sum: _sum,
    _aten.mean: _sum,
    _aten.prod: _whole,
    _aten.nansum: _sum,
    _aten.linalg_vector_norm: _norm,
    _aten.amax: _extreme,
    _aten.amin: _extreme,
    _aten.max: _extreme_or_place,
    _aten.min: _extreme_or_place,
    _aten.argmax: _place,
    _aten.argmin: _place,
    _aten.var: _variance,
    _aten.std: _variance,
    _aten.var_mean: _variance,
    _aten.std_mean: _variance,
    _aten.mse_loss: _loss,
    _aten.smooth_l1_loss: _loss,
    _aten.convolution_backward: _bias_gradient,
}
