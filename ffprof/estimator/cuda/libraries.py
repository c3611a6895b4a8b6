"""Which library an operator calls on CUDA, and what PyTorch makes for the call.

Only descriptions: what workspace a call takes is for ``ffprof.estimator.cuda.workspaces`` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ffprof.estimator.stream import Convolution, MatrixProduct, Phase, Scratch

_aten = torch.ops.aten


def calls_of(func: Any, args: Any, result: Any, phase: Phase) -> tuple[Scratch, ...]:
    """The library calls of one operator, in the order in which they are made."""
    describe = _CALLS.get(func._overloadpacket)
    return describe(args, result, phase) if describe is not None else ()


def temporaries_of(func: Any, args: Any) -> tuple[int, ...]:
    """Bytes of the copies that PyTorch makes for a library call and drops after it.

    cuDNN takes all tensors of a convolution in one memory format: those in another are copied
    (``aten/src/ATen/native/cudnn/ConvShared.cpp``, where inputs are made contiguous in the
    suggested format).
    """
    if func._overloadpacket is _aten.convolution:
        tensors = args[:2]
    elif func._overloadpacket is _aten.convolution_backward:
        tensors = args[:3]
    else:
        return ()
    wanted = _format(tensors[-2], tensors[-1])
    return tuple(
        t.numel() * t.element_size()
        for t in tensors
        if t.dim() in _FORMATS[wanted] and not t.is_contiguous(memory_format=wanted)
    )


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """The result of an operator on fake tensors, with the sizes and types that CUDA gives it.

    Batch normalisation keeps mean and variance in float32 whatever its input is (cuDNN's
    documentation of cudnnBatchNormalizationForwardTraining; ``acc_type`` in
    aten/src/ATen/native/cuda/Normalization.cuh); a fake operator returns the input's type, and
    takes ten times as long as making the results here.
    """
    if func is _aten.native_batch_norm.default and args[5]:
        return _batch_norm(args[0])
    if func is _aten.native_batch_norm_backward.default and args[7]:
        return _batch_norm_backward(args[1], args[2], args[9])
    result = func(*args, **kwargs)
    if func is _aten.log_sigmoid_forward.default:
        # The processor keeps a buffer as large as the input, CUDA an empty one.
        return (result[0], result[1].new_empty(0))
    return result


def _batch_norm(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    out = _aten.empty_like.default(x)
    return out, _each_channel(x), _each_channel(x)


def _batch_norm_backward(x: Tensor, weight: Tensor | None, mask: Any) -> tuple[Tensor | None, ...]:
    like = x if weight is None else weight
    return (
        _aten.empty_like.default(x) if mask[0] else None,
        _aten.empty_like.default(like) if mask[1] else None,
        _aten.empty_like.default(like) if mask[2] else None,
    )


def _each_channel(x: Tensor) -> Tensor:
    wide = torch.float32 if x.dtype in _HALVES else x.dtype
    made: Tensor = _aten.new_empty.default(x, [x.shape[1]], dtype=wide)
    return made


_HALVES = (torch.float16, torch.bfloat16)
_FORMATS = {torch.contiguous_format: (3, 4, 5), torch.channels_last: (4,)}


def _format(x: Tensor, weight: Tensor) -> torch.memory_format:
    last = torch.channels_last
    suggested = x.dim() == 4 and (_is_last(x) or _is_last(weight))
    return last if suggested else torch.contiguous_format


def _is_last(t: Tensor) -> bool:
    return t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()


def _convolution(args: Any, result: Tensor, _: Phase) -> tuple[Scratch, ...]:
    x, weight, _bias, stride, padding, dilation, transposed, _out, groups = args[:9]
    return (_call("forward", x, weight, result, stride, padding, dilation, transposed, groups),)


def _convolution_backward(args: Any, result: Any, _: Phase) -> tuple[Scratch, ...]:
    grad, x, weight, _sizes, stride, padding, dilation, transposed, _out, groups, mask = args[:11]
    rest = (x, weight, grad, stride, padding, dilation, transposed, groups)
    calls = []
    if mask[0]:
        calls.append(_call("data gradient", *rest))
    if mask[1]:
        calls.append(_call("weight gradient", *rest))
    return tuple(calls)


def _call(
    which: Any, x: Tensor, weight: Tensor, out: Tensor, stride: Any, padding: Any,
    dilation: Any, transposed: bool, groups: int,
) -> Convolution:  # fmt: skip
    return Convolution(
        which=which,
        input=tuple(x.shape),
        weight=tuple(weight.shape),
        output=tuple(out.shape),
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=groups,
        transposed=transposed,
        channels_last=_format(x, weight) is torch.channels_last,
        element_bytes=x.element_size(),
    )


def _product(args: Any, _: Any, phase: Phase) -> tuple[Scratch, ...]:
    return (_blas(args[0], phase, fused=False),)


def _product_and_bias(args: Any, _: Any, phase: Phase) -> tuple[Scratch, ...]:
    # A bias of one dimension is added by cublasLt in the same kernel (``addmm`` in
    # aten/src/ATen/native/cuda/Blas.cpp).
    return (_blas(args[1], phase, fused=args[0].dim() == 1),)


def _blas(x: Tensor, phase: Phase, *, fused: bool) -> MatrixProduct:
    # Backward runs on autograd's own thread for a GPU, and recomputation with it.
    thread = "autograd" if phase in ("backward", "recompute") else "forward"
    return MatrixProduct(thread=thread, fused=fused, element_bytes=x.element_size())  # type: ignore[arg-type]


_CALLS: dict[Any, Callable[[Any, Any, Phase], tuple[Scratch, ...]]] = {
    _aten.convolution: _convolution,
    _aten.convolution_backward: _convolution_backward,
    _aten.mm: _product,
    _aten.bmm: _product,
    _aten.addmm: _product_and_bias,
    _aten.baddbmm: _product,
    _aten.mv: _product,
    _aten.addmv: _product,
}
