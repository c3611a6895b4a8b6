"""Autocast as on CUDA, for tensors of a processor.

The lists are those of PyTorch's documentation ("Autocast Op Reference", CUDA) and of
``aten/src/ATen/autocast_mode.h``, by the names of the dispatcher; a test holds them against the
kernels that the installed torch registers for CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FLOAT32 = _names(
    "acos asin cosh erfinv exp expm1 log log10 log1p log2 reciprocal rsqrt sinh tan pow.Scalar "
    "pow.Tensor_Scalar pow.Tensor_Tensor softplus layer_norm native_layer_norm group_norm rms_norm "
    "frobenius_norm.dim nuclear_norm nuclear_norm.dim cosine_similarity dist pdist renorm "
    "logsumexp upsample_nearest1d _upsample_nearest_exact1d upsample_nearest2d "
    "_upsample_nearest_exact2d upsample_nearest3d _upsample_nearest_exact3d upsample_linear1d "
    "upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d upsample_bicubic2d "
    "_upsample_bicubic2d_aa"
)
# The type of the result is requested, if none is given, and the input left as it is.
FLOAT32_RESULT = _names(
    "softmax.int log_softmax.int cumprod cumsum linalg_vector_norm linalg_matrix_norm "
    "linalg_matrix_norm.str_ord sum sum.dim_IntList"
)
FLOAT32_NORM = ("norm.Scalar", "norm.ScalarOpt_dim")
LOWER = _names("_convolution convolution addmv addr mv chain_matmul einsum linalg_multi_dot")
WIDEST = _names("addcdiv addcmul atan2 bilinear cross dot vdot index_put tensordot scatter_add")
# What a processor casts to float32, or to the widest type, and CUDA leaves alone.
AS_IT_IS = _names(
    "avg_pool3d max_pool3d adaptive_avg_pool3d adaptive_max_pool3d reflection_pad1d "
    "reflection_pad2d replication_pad1d replication_pad2d replication_pad3d cross_entropy_loss "
    "grid_sampler_2d grid_sampler_3d max_unpool2d max_unpool3d fractional_max_pool2d "
    "fractional_max_pool3d trace cat stack"
)
# Recurrent cells and cuDNN's own operators are not reached: see the table of rules.
NOT_REACHED = _names(
    "_cudnn_rnn _scaled_dot_product_flash_attention _thnn_fused_gru_cell _thnn_fused_lstm_cell "
    "cudnn_convolution cudnn_convolution_transpose gru_cell lstm_cell rnn_relu_cell "
    "rnn_tanh_cell"
)
_HALVES = (torch.float16, torch.bfloat16)


def kernels() -> Iterator[tuple[str, Callable[..., Any]]]:
    """(operator, what it does under autocast), for operators that this torch has."""
    policies: tuple[tuple[tuple[str, ...], Callable[[Any], Callable[..., Any]]], ...] = (
        (FLOAT32, _in_float32),
        (FLOAT32_RESULT, _with_float32_result),
        (FLOAT32_NORM, _in_float32),
        (LOWER, _in_lower),
        (WIDEST, _in_widest),
        (AS_IT_IS, _as_it_is),
    )
    for names, policy in policies:
        for name in names:
            packet, _, overload = name.partition(".")
            found = getattr(getattr(torch.ops.aten, packet, None), overload or "default", None)
            if found is not None:
                yield name, policy(found)


@contextmanager
def backward_in_its_own_thread() -> Iterator[None]:
    """Backward passes outside of every autocast context, as autograd's thread for a GPU is.

    Contexts are counted by thread, and the outermost to end empties the cache of all: so does the
    recomputation of a checkpoint, in whatever context the backward pass was asked for.
    """
    modules = (torch.autograd, torch.autograd.graph)
    run = torch.autograd.graph._engine_run_backward

    def run_outside(*args: Any, **kwargs: Any) -> Any:
        contexts = torch.autocast_increment_nesting() - 1
        for _ in range(contexts + 1):
            torch.autocast_decrement_nesting()
        try:
            return run(*args, **kwargs)
        finally:
            for _ in range(contexts):
                torch.autocast_increment_nesting()

    for module in modules:
        module._engine_run_backward = run_outside  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in modules:
            module._engine_run_backward = run  # type: ignore[attr-defined]


def _without(run: Callable[[], Any]) -> Any:
    torch.set_autocast_enabled("cpu", False)
    try:
        return run()
    finally:
        torch.set_autocast_enabled("cpu", True)


def _cast(value: Any, wanted: torch.dtype, chosen: tuple[torch.dtype, ...]) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(wanted) if value.dtype in chosen else value
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(one, wanted, chosen) for one in value)
    return value


def _in_float32(operator: Any) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        cast = _cast(args, torch.float32, _HALVES)
        return _without(lambda: operator(*cast, **kwargs))

    return run


def _with_float32_result(operator: Any) -> Callable[..., Any]:
    at = next(i for i, a in enumerate(operator._schema.arguments) if a.name == "dtype")
    positional = not operator._schema.arguments[at].kwarg_only

    def run(*args: Any, **kwargs: Any) -> Any:
        given = args[at] if positional and len(args) > at else kwargs.get("dtype")
        if given is None and args[0].dtype in _HALVES:
            args = args[:at] if positional else args
            kwargs = kwargs | {"dtype": torch.float32}
        return _without(lambda: operator(*args, **kwargs))

    return run


def _in_lower(operator: Any) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        lower = torch.get_autocast_dtype("cpu")
        cast = _cast(args, lower, (torch.float32, *_HALVES))
        return _without(lambda: operator(*cast, **kwargs))

    return run


def _in_widest(operator: Any) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        floats = [a.dtype for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]
        cast = _cast(args, torch.float32, _HALVES) if torch.float32 in floats else args
        return _without(lambda: operator(*cast, **kwargs))

    return run


def _as_it_is(operator: Any) -> Callable[..., Any]:
    """As if there were no rule: what an operator is put together from has rules of its own."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    if has(operator.name(), "CompositeImplicitAutograd"):
        return lambda *args, **kwargs: operator.decompose(*args, **kwargs)
    return lambda *args, **kwargs: _without(lambda: operator(*args, **kwargs))
