"""Which library an operator calls on CUDA, and what PyTorch makes for the call.

Only descriptions: what workspace a call takes is for ``ffprof.estimator.cuda.workspaces`` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ffprof.estimator.allocator import release_of
from ffprof.estimator.cuda.reductions import reductions_of
from ffprof.estimator.cuda.workspaces import uses_cudnn
from ffprof.estimator.stream import Convolution, MatrixProduct, Phase, Scratch

_aten = torch.ops.aten
_OUTER_PRODUCTS = release_of(torch.__version__) >= (2, 13)


def calls_of(func: Any, args: Any, kwargs: Any, result: Any, phase: Phase) -> tuple[Scratch, ...]:
    """What one operator calls that takes workspace, in the order in which it is called."""
    describe = _CALLS.get(func._overloadpacket)
    calls = describe(args, result, phase) if describe is not None else ()
    return (*calls, *reductions_of(func, args, kwargs, result))


def library_calls(operator: Any, args: Any, result: Any) -> tuple[Scratch, ...]:
    """The calls of a convolution or its backward, in their order."""
    return _CALLS[operator](args, result, "forward")


def is_cudnns(args: Any) -> bool:
    """Whether cuDNN computes a convolution's backward of these arguments."""
    call = _convolution_backward(args, None, "backward")[0]
    return isinstance(call, Convolution) and uses_cudnn(call)


def temporaries_of(func: Any, args: Any) -> tuple[int, ...]:
    """Bytes of the copies that PyTorch makes of an operator's inputs first, and drops after it."""
    if func._overloadpacket in _NORMS:  # read row by row (layer_norm_kernel.cu)
        x = args[_NORMS[func._overloadpacket]]
        return () if x.is_contiguous() else (_bytes(x),)
    return ()


def can_be(t: Tensor, wanted: torch.memory_format) -> bool:
    """Whether a tensor of its dimensions has that memory format."""
    return t.dim() in _FORMATS[wanted]


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
    if func is _RMS_NORM:
        return _rms_norm(*args, **kwargs)
    if func is _RMS_NORM_BACKWARD:
        return _rms_norm_backward(*args, **kwargs)
    result = func(*args, **kwargs)
    if func is _aten.log_sigmoid_forward.default:
        # The processor keeps a buffer as large as the input, CUDA an empty one.
        return (result[0], result[1].new_empty(0))
    if func is _aten._scaled_dot_product_efficient_attention.default and len(args) > 5 and args[5]:
        # With dropout, seed and offset of its numbers are on the host
        # (_efficient_attention_forward in aten/src/ATen/native/transformers/cuda/attention.cu).
        return (*result[:2], *(torch.empty_like(t, device="cpu") for t in result[2:]))
    if func._overloadpacket in _LOSSES and is_summed(args, kwargs):
        # The result is first made as large as the input, then shrunk to one number: its storage
        # stays (mse_loss and smooth_l1_loss in aten/src/ATen/native/BinaryOps.cpp and Loss.cpp).
        shape = torch.broadcast_shapes(args[0].shape, args[1].shape)
        return result.new_empty(shape).as_strided((), ())
    if func is _aten.binary_cross_entropy.default and result.dim() == 0 and args[0].dim() > 0:
        return result.new_empty(args[0].shape).as_strided((), ())  # as those (Loss.cu)
    if func is _aten.native_layer_norm.default and args[0].dtype in _HALVES:
        # Statistics are in float32 (layer_norm_kernel.cu).
        return (result[0], *(t.new_empty(t.shape, dtype=torch.float32) for t in result[1:]))
    if func._overloadpacket in (_aten.im2col, _aten.col2im) and result.numel() < args[0].numel():
        # First as large as the input (Im2Col.cu and Col2Im.cu in aten/src/ATen/native/cuda).
        return result.new_empty(args[0].numel()).as_strided(result.shape, result.stride())
    if func._overloadpacket in _BAGS:
        return _bag(args, *result)
    return result


def ordered(func: Any, result: Any) -> Any:
    """What an operator returns, in the order in which its memory is requested.

    Dropout makes its mask first (aten/src/ATen/native/cuda/Dropout.cu), a bag its sizes.
    """
    if func._overloadpacket in _BAGS:
        return (result[2], result[1], result[0], result[3])
    return result[::-1] if func is _aten.native_dropout.default else result


def scratch_of(func: Any, args: Any, kwargs: Any, result: Any) -> tuple[int, ...]:
    """Bytes that an operator takes after its results for tensors of its own, in order.

    A negative number ``-n`` gives the n-th of them back, and the end of the operator the rest.
    """
    if func._overloadpacket in _LOSSES and is_summed(args, kwargs):
        return (result.untyped_storage().nbytes(),)  # before they are added up
    if func is _aten.native_layer_norm_backward.default:
        return () if args[0].is_contiguous() else (_bytes(args[0]),)
    return ()


def _bytes(t: Tensor) -> int:
    return t.numel() * t.element_size()


_LOSSES = {_aten.mse_loss, _aten.smooth_l1_loss}
_RMS_NORM = getattr(getattr(_aten, "_fused_rms_norm", None), "default", None)
_RMS_NORM_BACKWARD = getattr(getattr(_aten, "_fused_rms_norm_backward", None), "default", None)


def is_summed(args: Any, kwargs: Any) -> bool:
    """Whether a loss of two tensors is reduced to one number."""
    return bool((args[2] if len(args) > 2 else kwargs.get("reduction", 1)) != 0)


_BAGS = {_aten._embedding_bag, _aten._embedding_bag_forward_only}


def _bag(args: Any, out: Tensor, _: Tensor, sizes: Tensor, __: Tensor) -> tuple[Tensor, ...]:
    """The bag of every index, sizes of bags, and for maxima where they are (EmbeddingBag.cu)."""
    indices, offsets = args[1:3]
    maxima = out.shape if len(args) > 4 and args[4] == 2 else (0,)
    return (
        out,
        indices.new_empty(indices.shape),
        indices.new_empty(offsets.shape),
        indices.new_empty(maxima),
    )


def _rms_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> tuple[Tensor, Tensor]:
    """The result, and a number a row in float32 at least (layer_norm_kernel.cu)."""
    wide = torch.float32 if x.dtype in _HALVES else x.dtype
    rows = [*x.shape[: x.dim() - len(shape)], *(1 for _ in shape)]
    out = _aten.empty_like.default(x, memory_format=torch.contiguous_format)
    return out, _aten.new_empty.default(x, rows, dtype=wide)


def _rms_norm_backward(
    grad: Tensor, x: Tensor, shape: Any, rstd: Tensor, weight: Tensor | None, mask: Any
) -> tuple[Tensor | None, Tensor | None]:
    return (
        _aten.empty_like.default(x, memory_format=torch.contiguous_format) if mask[0] else None,
        _aten.empty_like.default(weight) if mask[1] and weight is not None else None,
    )


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


_NORMS = {_aten.native_layer_norm: 0, _aten.native_layer_norm_backward: 1}  # which is the input
_HALVES = (torch.float16, torch.bfloat16)
_FORMATS = {torch.contiguous_format: (3, 4, 5), torch.channels_last: (4,)}


def format_of(x: Tensor, weight: Tensor) -> torch.memory_format:
    """In which cuDNN takes all tensors of a convolution: those in another are copied."""
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
        channels_last=format_of(x, weight) is torch.channels_last,
        element_bytes=x.element_size(),
    )


def _product(args: Any, _: Any, phase: Phase) -> tuple[Scratch, ...]:
    return (_blas(args[0], phase, fused=False),)


def _batched_product(args: Any, result: Any, phase: Phase) -> tuple[Scratch, ...]:
    # From torch 2.13 on outer products have a kernel of PyTorch's own
    # (torch/_native/ops/bmm_outer_product/triton_impl.py).
    x = args[0]
    if x.shape[2] == 1 and x.numel() and not x.is_complex() and _OUTER_PRODUCTS:
        return ()
    return _product(args, result, phase)


def _product_and_bias(args: Any, _: Any, phase: Phase) -> tuple[Scratch, ...]:
    # A bias of one dimension is added by cublasLt in the same kernel, unless the weight is a vector
    # (``addmm`` in aten/src/ATen/native/cuda/Blas.cpp).
    bias, x, weight = args[:3]
    return (_blas(x, phase, fused=bias.dim() == 1 and min(weight.shape) > 1),)


def _blas(x: Tensor, phase: Phase, *, fused: bool) -> MatrixProduct:
    # Backward runs on autograd's own thread for a GPU, and recomputation with it.
    thread = "autograd" if phase in ("backward", "recompute") else "forward"
    return MatrixProduct(thread=thread, fused=fused, element_bytes=x.element_size())  # type: ignore[arg-type]


_CALLS: dict[Any, Callable[[Any, Any, Phase], tuple[Scratch, ...]]] = {
    _aten.convolution: _convolution,
    _aten.convolution_backward: _convolution_backward,
    _aten.mm: _product,
    _aten.bmm: _batched_product,
    _aten.addmm: _product_and_bias,
    _aten.baddbmm: _product,
    _aten.mv: _product,
    _aten.dot: _product,
    _aten.vdot: _product,
    _aten.addmv: _product,
}
