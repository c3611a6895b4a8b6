"""What a step asks of values that a fake tensor does not have.

A number read for a log (``loss.item()``) can be anything, so a stand-in is handed out; it may be
added up, divided and printed. Whatever would let it decide (a comparison, ``bool``, ``int``) is
refused, because memory would then depend on what is not known. Where it goes further than can be
followed (``float``, ``math``), other numbers are tried.

Small tensors of the host stay real, so that they have values: a build requests those of small
tensors (rates from ``linspace``, indices from ``arange``), an optimizer for the number of its step,
a loop for a random order. What is made on the host from numbers alone, or from such tensors alone,
is computed; it takes no memory of the GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ffprof.errors import UsageError
from ffprof.estimator.tracing.device import STAND_IN
from ffprof.estimator.tracing.storages import ANOTHER_DEVICE

_SCALER = "torch/amp/grad_scaler.py"
_OPTIMIZERS = "torch/optim/"
_INITS = "torch/nn/init.py"
_FRAMES = 4  # so far above the question those files are looked for


class DataDependentError(UsageError):
    """What a step does depends on the values of tensors."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: what the step does then depends on values, which an estimate does not know",
            "leave the branch out of the step that is estimated",
        )


def _undecided(what: str) -> Callable[..., Any]:
    def refuse(self: UnknownNumber, *_: Any) -> Any:
        self.reader.refuse(DataDependentError(what))

    return refuse


def _passed_on(name: str) -> Callable[..., Any]:
    method = getattr(float, name)

    def compute(self: UnknownNumber, *others: Any) -> Any:
        result = method(self, *others)
        return UnknownNumber(result, self.reader) if type(result) is float else result

    return compute


class UnknownNumber(float):
    """A number read from a tensor that has no values, and the ``Values`` that made it up."""

    reader: Values

    def __new__(cls, value: float, reader: Values) -> UnknownNumber:
        """A float of this value."""
        made = super().__new__(cls, value)
        made.reader = reader
        return made

    for _name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__",
                  "__truediv__", "__rtruediv__", "__pow__", "__rpow__", "__neg__", "__abs__",
                  "__pos__"):  # fmt: skip
        locals()[_name] = _passed_on(_name)
    for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__", "__bool__", "__int__",
                  "__trunc__", "__floor__", "__ceil__", "__round__", "__mod__", "__rmod__",
                  "__floordiv__", "__rfloordiv__", "__divmod__", "is_integer"):  # fmt: skip
        locals()[_name] = _undecided("a number read from a tensor is compared or rounded")
    del _name
    __hash__ = float.__hash__


_READS: dict[Any, str] = {
    torch.Tensor.__bool__: "the step branches on a tensor's value",
    torch.Tensor.__int__: "a tensor is converted to an integer",
    torch.Tensor.__index__: "a tensor is used as a Python index",
    torch.Tensor.numpy: "numpy() is called",
}


# These make a tensor of numbers on the host first, and its device would be lost there.
_FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}


class Values(TorchFunctionMode):
    """Answers what is asked of values while it is entered.

    ``number`` is what is made up where a number must be had: 1.0, so a loop that stops at a loss
    that is not finite goes on. ``asked`` tells whether it was; whoever traces then tries other
    numbers, because not all that a number can decide is seen. ``refusal`` is the first refusal,
    which the step may have caught. ``for_gpu`` is whether a GPU is stood in for.
    """

    def __init__(self, *, for_gpu: bool = True) -> None:
        super().__init__()
        self.number = 1.0
        self.asked = False
        self.refusal: UsageError | None = None
        self._for_gpu = for_gpu

    def refuse(self, error: UsageError) -> NoReturn:
        """Raise, and remember it.

        Raises:
            UsageError: always.
        """
        self.refusal = self.refusal or error
        raise error

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # Not in the dispatcher: below autocast its switch reads as off, and C++ that asks for a
        # tensor's device ends the process if that raises.
        if self._for_gpu and torch.is_autocast_enabled("cuda"):
            self.refuse(
                UsageError("autocast is on for 'cuda' and would cast nothing", ANOTHER_DEVICE)
            )
        asked = args[0] if args and isinstance(args[0], FakeTensor) else None
        if asked is not None and asked.constant is None:
            if func is torch.Tensor.item or func is torch.Tensor.__float__:
                return self._number(func)
            if func in _READS:
                if func is torch.Tensor.__bool__ and _asked_from(_INITS):
                    return False  # "is anything out of range still?", when a weight is drawn
                self.refuse(DataDependentError(_READS[func]))
            if func is torch.Tensor.__format__ and asked.dim() == 0:
                return format(self._number(func), args[1])
        kwargs = kwargs or {}
        if func in _FROM_NUMBERS:
            own = args[0].device if func is torch.Tensor.new_tensor else None
            if (kwargs.get("device") or own) == STAND_IN:
                return func(*args, **kwargs | {"device": "cpu"}).to(STAND_IN)
        return func(*args, **kwargs)

    def _number(self, func: Any) -> float:
        if _asked_from(_SCALER):
            return 0.0  # nothing overflowed: the step is taken
        if _asked_from(_OPTIMIZERS):
            return 1.0  # the number of the step
        self.asked = True
        if func is torch.Tensor.item:
            return UnknownNumber(self.number, self)
        return self.number


def _asked_from(path: str) -> bool:
    frame = sys._getframe(3)
    for _ in range(_FRAMES):
        if path in frame.f_code.co_filename.replace("\\", "/"):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


_aten = torch.ops.aten
_MADE_OF_NUMBERS = {
    _aten.linspace, _aten.logspace, _aten.arange, _aten.scalar_tensor, _aten.randperm,
    _aten.lift_fresh,
}  # fmt: skip
_OF_A_SIZE = {_aten.full, _aten.zeros, _aten.ones, _aten.randint, _aten.rand, _aten.randn}
_SMALL = 4096  # elements


def stays_real(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator without fake arguments is to be computed, on the host."""
    if kwargs.get("device") == STAND_IN or _elsewhere(kwargs.get("device")):
        return False
    tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
    if tensors:
        return all(t.device.type == "cpu" for t in tensors)
    if func._overloadpacket in _OF_A_SIZE:
        sizes = next((a for a in args if isinstance(a, (list, tuple))), ())
        return _product(sizes) <= _SMALL
    if func._overloadpacket is _aten.empty:  # larger ones are weights to be
        return _product(args[0]) <= 1
    return func._overloadpacket in _MADE_OF_NUMBERS


def _elsewhere(device: torch.device | None) -> bool:
    return device is not None and torch.device(device).type != "cpu"


def _product(sizes: Any) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total
