"""A call of PyTorch from Python: what it is given, what it changes, and the same on the host."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

MOST = 65_536  # elements of a tensor
# By their names, as functions and methods.
_COMPARISONS = "eq ne lt le gt ge isnan equal logical_and logical_or logical_xor logical_not"
_ARITHMETIC = (
    "add sub mul div true_divide floor_divide remainder fmod neg abs sign clamp clamp_min "
    "clamp_max maximum minimum bitwise_and bitwise_or bitwise_xor bitwise_not ceil floor round "
    "trunc sqrt pow exp log where cumsum cumprod"
)
_REDUCTIONS = "any all sum prod mean max min amax amin aminmax argmax argmin count_nonzero"
_MOVES = (
    "index_select index_fill index_add index_put index_copy gather scatter scatter_add "
    "masked_fill masked_select take cat concat stack flip roll tril triu sort argsort "
    "topk searchsorted bucketize nonzero clone contiguous reshape flatten repeat long int float "
    "bool half double"
)
_NAMES = " ".join((_COMPARISONS, _ARITHMETIC, _REDUCTIONS, _MOVES)).split()
_MADE = "tensor as_tensor zeros ones full arange linspace eye zeros_like ones_like full_like"
_FACTORIES = frozenset(f"{_MADE} new_zeros new_ones new_full new_tensor".split())
FROM_HOST = frozenset({"tensor", "as_tensor", "new_tensor", "to", "cuda"})
SOURCES = FROM_HOST | _FACTORIES
# After these somebody else may change the memory, and PyTorch does not count it.
HAND_OUT = frozenset({"data_ptr", "__dlpack__", "untyped_storage", "storage", "__get__"})
PROPERTIES = ("data", "__cuda_array_interface__")
FILLS = ("fill_", "zero_", "copy_")  # what they find there is of no matter
TO_DEVICE = ("to", "cuda")
# What they take depends on values on its way, so they are not called on the device.
SIZED_BY_VALUES = frozenset({"repeat_interleave", "one_hot", "bincount", "isin"})
# As operators of Python; those in place are forgotten where they are not computed.
_PYTHONS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_OTHERS = ("eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "invert", "getitem", "setitem")
_IN_PLACE = frozenset(f"__i{one}__" for one in (*_PYTHONS, "div", "lshift", "rshift", "matmul"))
COMPUTED = frozenset(
    [
        *_NAMES,
        *_FACTORIES,
        *(f"__{one}__" for one in _OTHERS),
        *(f"__{side}{one}__" for one in _PYTHONS for side in ("", "r", "i")),
        *(one.removesuffix("_") for one in FILLS),
        *TO_DEVICE,
        *SIZED_BY_VALUES,
    ]
)
FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Call:
    """A function and what it is given."""

    func: Any
    name: str
    args: Any
    kwargs: dict[str, Any]

    @cached_property
    def given(self) -> list[Tensor]:
        """All tensors."""
        return list(tensors_in((*self.args, *self.kwargs.values())))

    @property
    def in_place(self) -> bool:
        """Whether it changes what it is given; by its name, as PyTorch's are named."""
        if self.name.startswith("__"):
            return self.name == "__setitem__" or self.name in _IN_PLACE
        return "out" in self.kwargs or (self.name.endswith("_") and self.name != "requires_grad_")

    @property
    def changed(self) -> list[Tensor]:
        """The tensors that it changes, as far as its form tells."""
        if not self.in_place:
            return []
        if self.name.startswith("_") and not self.name.startswith("__"):  # for many tensors at once
            return self.given
        return list(tensors_in((self.kwargs.get("out", self.args[:1]),)))

    @cached_property
    def target(self) -> Tensor | None:
        """What it changes, if it is one tensor."""
        if not self.in_place:
            return None
        found = self.kwargs.get("out", self.args[0] if self.args else None)
        return found if isinstance(found, Tensor) else None

    @cached_property
    def inputs(self) -> list[Tensor]:
        """The tensors whose values matter."""
        if self.name in FILLS:
            return list(tensors_in((*self.args[1:], *self.kwargs.values())))
        named = (v for k, v in self.kwargs.items() if k != "out")
        return list(tensors_in((*self.args, *named)))

    def on_host(self, hosted: tuple[list[Any], dict[str, Any]], result: Any) -> Any:
        """What it gives there; a target has it.

        Raises:
            RuntimeError: it cannot be done there.
        """
        args, kwargs = hosted
        if self.name in TO_DEVICE:
            return args[0].to(result.dtype)
        if self.name in _FACTORIES or "device" in kwargs:  # as zeros_like
            kwargs = {**kwargs, "device": "cpu"}
        if "out" in kwargs:
            kwargs = {**kwargs, "out": torch.empty(0, dtype=kwargs["out"].dtype, device="cpu")}
        found = self.func(*args, **kwargs)
        if self.target is None:
            return found
        return kwargs.get("out", args[0])


class Weak:
    """A weak reference to a storage: its memory is free without it, its address is not."""

    def __init__(self, storage: Any) -> None:
        self._reference = storage._weak_ref()

    def expired(self) -> bool:
        """Whether it is gone."""
        return bool(torch.UntypedStorage._expired(self._reference))

    def __del__(self) -> None:
        torch.UntypedStorage._free_weak_ref(self._reference)


def address_of(tensor: Tensor) -> int:
    """Of the storage; 0 of one without memory."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except FAILURES:  # a sparse tensor, or one of a subclass without memory
        return 0


def is_watched() -> bool:
    """Whether somebody notes what operators run: a mode of the dispatcher, or a trace."""
    return bool(torch._C._len_torch_dispatch_stack() or torch._C._is_tracing())


def is_small(name: str, args: list[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the result is, where values say how large that is."""
    given = args[0] if args and isinstance(args[0], Tensor) else None
    if name == "one_hot" and given is not None and given.numel():
        classes = kwargs.get("num_classes", args[1] if len(args) > 1 else -1)
        return given.numel() * max(int(classes), int(given.max()) + 1) <= MOST
    if name == "bincount" and given is not None and given.numel():
        return int(given.max()) < MOST
    if name == "repeat_interleave" and given is not None:
        times = kwargs.get("repeats", args[1] if len(args) > 1 else given)
        each = int(times.sum()) if isinstance(times, Tensor) and times.numel() > 1 else None
        return given.numel() * (int(times) if each is None else each) <= MOST
    return True


def has_many_ranks() -> bool:
    """Whether this is one of several processes, whose collectives change what is not seen."""
    distributed = sys.modules.get("torch.distributed")
    return bool(
        distributed
        and distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def is_plain(tensor: Tensor) -> bool:
    """Whether its memory holds its values, and nothing else does."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type in ("cpu", "cuda")
        and not (tensor.is_complex() or tensor.is_quantized or tensor.is_neg())
    )


def is_dense(tensor: Tensor) -> bool:
    """Whether each element has a place of its own, with no gaps between them."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def may_be_learned(source: Tensor) -> bool:
    """Whether it comes from the host and may be a parameter, or a buffer of batch norm."""
    return source.device.type == "cpu" and source.is_floating_point() and source.numel() > 1


def have_functions(arguments: Sequence[Any]) -> bool:
    """``torch.overrides.has_torch_function`` without modes, of which ours is one."""
    plain = torch._C._disabled_torch_function_impl
    return any(
        type(one) not in (Tensor, torch.nn.Parameter)
        and getattr(type(one), "__torch_function__", plain) is not plain
        for one in arguments
    )


def tensors_in(given: Sequence[Any]) -> Iterator[Tensor]:
    """All tensors, those in lists and slices included."""
    for one in given:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from tensors_in(one)
        elif isinstance(one, slice):
            yield from tensors_in((one.start, one.stop, one.step))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with other tensors."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(mapped(one, change) for one in value)
    if isinstance(value, dict):
        return {name: mapped(one, change) for name, one in value.items()}
    if isinstance(value, slice):
        return slice(*(mapped(one, change) for one in (value.start, value.stop, value.step)))
    return value


def copy_of(tensor: Tensor) -> Tensor:
    """On the host, by what its memory holds."""
    return tensor if tensor.device.type == "cpu" else alias_of(tensor).clone()


def alias_of(tensor: Tensor) -> Tensor:
    """A tensor of the host on the pages behind a tensor of the device."""
    storage = tensor.untyped_storage()
    if not storage.nbytes() or not tensor.numel():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    held = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
    flat = torch.frombuffer(
        held, dtype=tensor.dtype, count=storage.nbytes() // tensor.element_size()
    )
    return flat.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
