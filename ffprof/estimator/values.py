"""What a step asks of values that a fake tensor does not have.

A number read for a log (``loss.item()``) can be anything, so a stand-in is handed out; it may be
added up, divided and printed. Whatever would let it decide (a comparison, ``bool``, ``int``) is
refused, because memory would then depend on what is not known.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from ffprof.errors import UsageError
from ffprof.estimator.standin import STAND_IN

_SCALER = "torch/amp/grad_scaler.py"
_OPTIMIZERS = "torch/optim/"
_INITS = "torch/nn/init.py"
_FRAMES = 4  # so far above the question those files are looked for


class DataDependentError(UsageError):
    """What a step does depends on the values of tensors."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: what the step does then depends on values, which an estimate does not know",
            "leave the decision out of the step that is estimated",
        )


def _undecided(what: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise DataDependentError(what)

    return refuse


def _passed_on(name: str) -> Callable[..., Any]:
    method = getattr(float, name)

    def compute(self: float, *others: Any) -> Any:
        result = method(self, *others)
        return UnknownNumber(result) if type(result) is float else result

    return compute


class UnknownNumber(float):
    """A number read from a tensor that has no values; 1.0 where a number must be had.

    It is finite, so a loop that stops at a loss that is not finite goes on.
    """

    for _name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__",
                  "__truediv__", "__rtruediv__", "__neg__", "__abs__", "__pos__"):  # fmt: skip
        locals()[_name] = _passed_on(_name)
    for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__", "__bool__", "__int__",
                  "__trunc__", "__floor__", "__ceil__", "__round__"):  # fmt: skip
        locals()[_name] = _undecided("a number read from a tensor is compared or rounded")
    del _name
    __hash__ = float.__hash__


_READS: dict[Any, str] = {
    torch.Tensor.__bool__: "the truth of a tensor is asked",
    torch.Tensor.__int__: "a tensor is made an integer",
    torch.Tensor.__index__: "a tensor is used as an index of Python",
    torch.Tensor.numpy: "numpy() is called",
}


# These make a tensor of numbers on the host first, and its device would be lost there.
_FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}


class Values(TorchFunctionMode):
    """Answers what is asked of values while it is entered."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        asked = args[0] if args and isinstance(args[0], FakeTensor) else None
        if asked is not None and asked.constant is None:
            if func is torch.Tensor.item or func is torch.Tensor.__float__:
                return self._number(func)
            if func in _READS:
                if func is torch.Tensor.__bool__ and _asked_from(_INITS):
                    return False  # "is anything out of range still?", when a weight is drawn
                raise DataDependentError(_READS[func])
        kwargs = kwargs or {}
        if func in _FROM_NUMBERS:
            own = args[0].device if func is torch.Tensor.new_tensor else None
            if (kwargs.get("device") or own) == STAND_IN:
                return func(*args, **kwargs | {"device": "cpu"}).to(STAND_IN)
        return func(*args, **kwargs)

    @staticmethod
    def _number(func: Any) -> float:
        if _asked_from(_SCALER):
            return 0.0  # nothing overflowed: the step is taken
        if _asked_from(_OPTIMIZERS):
            return 1.0  # the number of the step
        return 1.0 if func is torch.Tensor.__float__ else UnknownNumber(1.0)


def _asked_from(path: str) -> bool:
    frame = sys._getframe(3)
    for _ in range(_FRAMES):
        if path in frame.f_code.co_filename.replace("\\", "/"):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
