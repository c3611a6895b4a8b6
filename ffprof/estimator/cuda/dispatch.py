"""Where dispatch on a processor differs from dispatch on CUDA: one table, with the reasons.

A traced step runs on fake tensors of a processor. What PyTorch would do otherwise on CUDA is
registered with its dispatcher through ``torch.library`` while a step is traced, and taken back
after it. Each rule that is missing here is a silently wrong figure, so the table is meant to be
read.

Rules without a function need none here: they say where in this package they are kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils import _foreach_utils

from ffprof.errors import UsageError
from ffprof.estimator.cuda import attention, autocast

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One difference.

    ``operator`` is the name that ``torch.library`` knows it by, ``key`` the dispatch key whose
    kernel is replaced by ``function``; both are empty where nothing is replaced.
    """

    subject: str
    reason: str
    operator: str = ""
    key: str = ""
    function: Callable[..., Any] | None = None


def _dropout(x: Any, p: float, train: bool) -> Any:
    if not train or p == 0 or x.numel() == 0:
        return x
    if p == 1:
        return x * 0
    return _aten.native_dropout.default(x, p, True)[0]


def _softmax(name: str) -> Callable[..., Any]:
    inner = getattr(_aten, f"_{name}").default

    def softmax(x: Any, dim: int, dtype: Any = None) -> Any:
        if x.dtype is torch.float16 and dtype is torch.float32:
            return inner(x, dim, True)
        converted = x if dtype is None else x.to(dtype)
        return inner(converted, dim, False)

    return softmax


def _rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    return _aten._fused_rms_norm.default(x, normalized_shape, weight, eps)[0]


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    if bias is None or x.dim() <= 2 or (x.dim() == 3 and x.is_contiguous()):
        return _aten.linear.default.decompose(x, weight, bias)
    if x.is_contiguous():
        rows = _aten.addmm.default(bias, x.view(-1, x.size(-1)), weight.t())
        return rows.view(*x.shape[:-1], weight.size(0))
    return _aten.matmul.default(x, weight.t()).add_(bias)


def _fused(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("a traced step does not run it: see ffprof.estimator.cuda.libraries")


def _no_recurrent(*_: Any, **__: Any) -> Any:
    raise UsageError(
        "a recurrent layer: cuDNN runs it in one call whose memory is not modelled",
        "measure it on a GPU, or estimate the step without it",
    )


_RECURRENT = (
    "lstm_cell",
    "gru_cell",
    "lstm.input",
    "lstm.data",
    "gru.input",
    "gru.data",
    "rnn_tanh.input",
    "rnn_relu.input",
)


def _no_bilinear(*_: Any, **__: Any) -> Any:
    raise UsageError(
        "a bilinear layer: PyTorch multiplies it slice by slice, which is not modelled",
        "write it as an einsum, or leave it out of the step that is estimated",
    )


TABLE: tuple[Rule, ...] = (
    Rule(
        subject="dropout",
        reason="on CUDA one kernel keeps a mask of one byte an element; on a processor a mask of "
        "the input's type is drawn, divided and kept",
        operator="dropout",
        key="AutogradCPU",
        function=_dropout,
    ),
    Rule(
        subject="softmax of half precision in float32",
        reason="on CUDA float16 is read by the float32 kernel; on a processor a float32 copy of "
        "the input is made first",
        operator="softmax.int",
        key="AutogradCPU",
        function=_softmax("softmax"),
    ),
    Rule(
        subject="log_softmax of half precision in float32",
        reason="float16 is read by the float32 kernel on CUDA, as for softmax",
        operator="log_softmax.int",
        key="AutogradCPU",
        function=_softmax("log_softmax"),
    ),
    *(
        Rule(
            subject=f"rms_norm: {name}",
            reason="on CUDA one kernel keeps the input and a number a row; a processor has none, "
            "so it would be put together from powers, means and products, each of which keeps its "
            "own (what it returns: ffprof.estimator.cuda.libraries)",
            operator=name,
            key="CPU",
            function=_fused,
        )
        for name in ("_fused_rms_norm", "_fused_rms_norm_backward")
        if hasattr(_aten, name)
    ),
    Rule(
        subject="rms_norm: the choice",
        reason="on CUDA the fused kernel is taken; on a processor the parts are",
        operator="rms_norm",
        key="AutogradCPU",
        function=_rms_norm,
    ),
    Rule(
        subject="linear",
        reason="where no single call adds the bias, it is added in place to the product; for "
        "tensor subclasses, and so for fake ones, into new memory "
        "(aten/src/ATen/native/Linear.cpp)",
        operator="linear",
        key="AutogradCPU",
        function=_linear,
    ),
    Rule(
        subject="log_sigmoid",
        reason="a processor keeps a buffer for backward, CUDA an empty one "
        "(ffprof.estimator.cuda.libraries)",
    ),
    Rule(
        subject="scaled_dot_product_attention",
        reason="CUDA chooses between a flash, a memory-efficient and a plain kernel, which keep "
        "other tensors for backward than the processor's (ffprof.estimator.cuda.attention)",
        operator="scaled_dot_product_attention",
        key="AutogradCPU",
        function=attention.attend,
    ),
    *(
        Rule(
            subject=f"recurrent layers: {name}",
            reason="a processor runs cell by cell, cuDNN the whole layer in one call with a "
            "workspace and a reserve that are not modelled: refused",
            operator=name,
            key="AutogradCPU",
            function=_no_recurrent,
        )
        for name in _RECURRENT
    ),
    Rule(
        subject="bilinear layers",
        reason="one operator here is a product and a sum for each output on CUDA: refused",
        operator="bilinear",
        key="AutogradCPU",
        function=_no_bilinear,
    ),
    Rule(
        subject="clipping of gradients",
        reason="norms of many tensors are one kernel on CUDA; for tensor subclasses, and so for "
        "fake ones, a loop",
    ),
    Rule(
        subject="autocast",
        reason="CUDA casts other operators to float32 than a processor does: norms, softmax, "
        "sums and powers (ffprof.estimator.cuda.autocast)",
    ),
    Rule(
        subject="optimizers",
        reason="foreach=None means one kernel for all parameters on CUDA, and a loop on a "
        "processor: unset it is set to True before a step (but for Adafactor)",
    ),
    Rule(
        subject="GradScaler",
        reason="it asks whether a gradient overflowed, and would skip the step if anything but "
        "zero came back (ffprof.estimator.tracing.values)",
    ),
    Rule(
        subject="batch normalisation of half precision",
        reason="cuDNN and CUDA keep mean and variance in float32; a fake operator returns them in "
        "the input's type (ffprof.estimator.tracing.tracer)",
    ),
    Rule(
        subject="convolutions",
        reason="cuDNN wants one memory format for all tensors, and workspace "
        "(ffprof.estimator.cuda.libraries)",
    ),
    Rule(
        subject="host tensors",
        reason="step counters of optimizers and batches made on the host are not the GPU's: they "
        "are on another fake device (ffprof.estimator.tracing.device)",
    ),
)


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Dispatch as CUDA would while it is entered."""
    library = torch.library.Library("aten", "IMPL")
    handle = register_optimizer_step_pre_hook(_choose_foreach)
    kinds = _foreach_utils._foreach_supported_types
    kinds.append(FakeTensor)
    try:
        with warnings.catch_warnings():
            for text in ("dispatch key", "Overriding a previously registered", "overrid"):
                warnings.filterwarnings("ignore", message=f".*{text}.*", category=UserWarning)
            for rule in TABLE:
                if rule.function is not None:
                    library.impl(rule.operator, rule.function, rule.key)
            for operator, function in autocast.kernels():
                library.impl(operator, function, "AutocastCPU", allow_override=True)
        with warnings.catch_warnings():
            # These would switch themselves off for want of a GPU, and the figure would be wrong.
            for text in (".*CUDA is not available.*", ".*cuda is not available.*"):
                warnings.filterwarnings("error", message=text)
            warnings.filterwarnings("ignore", message=".*data pointer of FakeTensor.*")
            with autocast.backward_in_its_own_thread():
                yield
    finally:
        kinds.remove(FakeTensor)
        handle.remove()
        library._destroy()


def _choose_foreach(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    if isinstance(optimizer, torch.optim.Adafactor):
        return  # its default is the loop everywhere, because the other takes more memory
    for group in optimizer.param_groups:
        if "foreach" in group and group["foreach"] is None and not group.get("fused"):
            group["foreach"] = not group.get("differentiable", False)
