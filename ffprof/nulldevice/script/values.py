"""Values of small tensors that are known: computed on the host, where kernels compute nothing.

A tensor is known if a script filled it, or copied integers to it, or if a function of ``_COMPUTED``
made it of nothing but known ones. PyTorch runs such a function as it always does, and takes what
memory it takes; then the same function is called with the values on the host, and what it gives is
put into the device's memory. All else stays unknown: zeros, or what was there before.

Functions are seen where Python calls them (a mode of ``__torch_function__``), so what PyTorch does
inside of others, in backward or in other threads makes nothing known. Whether a tensor was changed
since is told by PyTorch's version counter. What changes memory behind it is not seen, as a kernel
of an extension; floats from the host, which parameters are, are left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MOST = 65_536  # elements of a tensor
_REMEMBERED = 4_096  # tensors, before those that are gone are looked for
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
    "bool half double type type_as"
)
_NAMES = " ".join((_COMPARISONS, _ARITHMETIC, _REDUCTIONS, _MOVES)).split()
_MADE = "tensor as_tensor zeros ones full arange linspace eye zeros_like ones_like full_like"
_FACTORIES = frozenset(f"{_MADE} new_zeros new_ones new_full new_tensor".split())
_FILLS = ("fill_", "zero_", "copy_")  # what they find there is of no matter
_TO_DEVICE = ("to", "cuda")
# What they take depends on values on its way, so they are not called on the device.
_SIZED_BY_VALUES = frozenset({"repeat_interleave", "one_hot", "bincount", "isin"})
# As operators of Python; those in place are forgotten where they are not computed.
_PYTHONS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_OTHERS = ("eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "invert", "getitem", "setitem")
_IN_PLACE = frozenset(f"__i{one}__" for one in (*_PYTHONS, "div", "lshift", "rshift", "matmul"))
_COMPUTED = frozenset(
    [
        *_NAMES,
        *_FACTORIES,
        *(f"__{one}__" for one in _OTHERS),
        *(f"__{side}{one}__" for one in _PYTHONS for side in ("", "r", "i")),
        *(one.removesuffix("_") for one in _FILLS),
        *_TO_DEVICE,
        *_SIZED_BY_VALUES,
    ]
)
_FAILURES = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError)
_Quiet = Callable[[], AbstractContextManager[None]]


class Values(TorchFunctionMode):
    """What is known of this thread's tensors, as long as it is on PyTorch's stack of modes."""

    def __init__(self) -> None:
        super().__init__()
        # By the address of a storage, which is not used again while a weak reference is held: the
        # reference, and PyTorch's count of changes at which it is known.
        self._known: dict[int, tuple[_Weak, int]] = {}
        self._doubtful: dict[int, _Weak] = {}  # of the host, read from what is not known
        self._look_at = _REMEMBERED
        self._on = False
        self._quiet: _Quiet = contextlib.nullcontext
        self._device: Any = None

    def install(self) -> None:
        """Be the lowest of this thread's modes; nothing is looked at before ``begin``."""
        self.__enter__()  # type: ignore[no-untyped-call]
        # Layers ask whether an argument has functions of its own before they take a fast path.
        vars(torch.overrides)["has_torch_function"] = _have_functions

    def begin(self, quiet: _Quiet) -> None:
        """CUDA is there; ``quiet`` is a context in which reads are not noted."""
        self._device, self._quiet, self._on = ctypes.CDLL(None), quiet, True
        self._device.ffprof_null_wrote.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self._device.ffprof_null_counts_are_known.argtypes = (ctypes.c_int,)
        capture = torch.cuda.CUDAGraph.capture_begin

        def captured(graph: Any, *args: Any, **kwargs: Any) -> None:
            self._on = False  # what a replay changes is not seen
            capture(graph, *args, **kwargs)

        torch.cuda.CUDAGraph.capture_begin = captured  # type: ignore[assignment, method-assign]

    def is_known(self, tensor: Tensor) -> bool:
        """Whether it holds the right values."""
        if tensor.device.type == "cpu":
            return not self._doubtful or _storage(tensor) not in self._doubtful
        found = self._known.get(_storage(tensor))
        if found is None or not self._on or tensor.requires_grad or tensor.is_inference():
            return False
        return tensor._version == found[1] and not _has_many_ranks()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and see what follows for what is known."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if torch.compiler.is_compiling() or not self._on or name == "__get__":
            return func(*args, **kwargs)
        call = hosted = None
        try:
            listed = name in _COMPUTED or name.removesuffix("_") in _COMPUTED
            if listed and not self._is_hopeless(name, args):
                call = _Call(func, name, args, kwargs)
                hosted = self._hosted(call)
                if hosted is not None:
                    return self._computed(call, hosted)
            result = func(*args, **kwargs)
            to_host = isinstance(result, Tensor) and result.device.type == "cpu"
            if to_host or self._known or self._doubtful:
                self._changed(call or _Call(func, name, args, kwargs), result)
            return result
        except BaseException:
            args, kwargs, call, hosted = (), {}, None, None  # whoever handles it holds this frame
            raise

    def _is_hopeless(self, name: str, args: Any) -> bool:
        """Whether what is given first is not known, as mostly; a quick look."""
        first = args[0] if args else None
        return (
            isinstance(first, Tensor)
            and first.is_cuda
            and name not in _FILLS
            and _storage(first) not in self._known
        )

    def _changed(self, call: _Call, result: Any) -> None:
        """Forget what a function may have changed that is not computed."""
        given = call.given
        if call.in_place or "_norm" in call.name:  # of batches, too, whose buffers change
            for one in given:
                self._known.pop(_storage(one), None)
        to_host = [one for one in _tensors((result,)) if one.device.type == "cpu"]
        if to_host and not all(map(self.is_known, given)):
            for one in to_host:
                storage = one.untyped_storage()
                self._doubtful[storage._cdata] = _Weak(storage)
            if len(self._doubtful) > _REMEMBERED:
                self._doubtful = {k: v for k, v in self._doubtful.items() if not v.expired()}

    def _hosted(self, call: _Call) -> tuple[list[Any], dict[str, Any]] | None:
        """The arguments on the host; None if nothing is to be computed, or not all is known."""
        inputs, target = call.inputs, call.target
        every = inputs if target is None else [*inputs, target]
        moves = call.name in _TO_DEVICE
        if every and not moves and all(one.device.type == "cpu" for one in every):
            return None
        if any(one.numel() > MOST or not _is_plain(one) for one in every):
            return None
        if not all(map(self.is_known, inputs)):
            return None
        if (moves or call.name == "copy_") and (not inputs or _may_be_learned(inputs[0])):
            return None
        try:
            return _map(list(call.args), _copy), {k: _map(v, _copy) for k, v in call.kwargs.items()}
        except _FAILURES:  # of a type that the host cannot copy
            return None

    def _computed(self, call: _Call, hosted: tuple[list[Any], dict[str, Any]]) -> Any:
        if call.name in _SIZED_BY_VALUES:
            found = call.on_host(hosted, None)
            device = next(one.device for one in call.inputs if one.device.type == "cuda")
            made = found.to(device)
            self._write(made, found, rest=False)
            return made
        rest = call.target is not None and self.is_known(call.target)
        self._device.ffprof_null_counts_are_known(1)
        try:
            with self._quiet():
                result = call.func(*call.args, **call.kwargs)
        finally:
            self._device.ffprof_null_counts_are_known(0)
        made = list(_tensors((result if call.target is None else call.target,)))
        if call.name == "equal":
            return call.on_host(hosted, result)
        if any(one.numel() > MOST for one in made):
            return result
        try:
            found = list(_tensors((call.on_host(hosted, result),)))
        except _FAILURES:  # not for this type, or the step fails here as it does on a GPU
            found = []
        ours = {_storage(one) for one in call.inputs} if call.target is None else set()
        for number, one in enumerate(made):
            value = found[number] if number < len(found) else None
            if value is None or (value.shape, value.dtype) != (one.shape, one.dtype):
                self._known.pop(_storage(one), None)
            elif _storage(one) not in ours:  # a view of what is known needs nothing
                self._write(one, value, rest=rest)
        return result

    def _write(self, target: Tensor, value: Tensor, *, rest: bool) -> None:
        """Put values into a tensor; ``rest``: all that its storage held before is known."""
        if target.device.type == "cpu":
            target.copy_(value)
            return
        storage = target.untyped_storage()
        whole = target.numel() * target.element_size() == storage.nbytes() and _is_dense(target)
        if not _is_plain(target) or target.is_inference() or not (whole or rest):
            self._known.pop(storage._cdata, None)
            return
        if target.numel():
            _alias(target).copy_(value)
            self._device.ffprof_null_wrote(storage.data_ptr(), storage.nbytes())
        self._known[storage._cdata] = (_Weak(storage), target._version)
        if len(self._known) > self._look_at:
            self._known = {k: one for k, one in self._known.items() if not one[0].expired()}
            self._look_at = max(_REMEMBERED, 2 * len(self._known))


@dataclass(frozen=True)
class _Call:
    """A function and what it is given."""

    func: Any
    name: str
    args: Any
    kwargs: dict[str, Any]

    @cached_property
    def given(self) -> list[Tensor]:
        """All tensors."""
        return list(_tensors((*self.args, *self.kwargs.values())))

    @property
    def in_place(self) -> bool:
        """Whether it changes what it is given; by its name, as PyTorch's are named."""
        if self.name.startswith("__"):
            return self.name == "__setitem__" or self.name in _IN_PLACE
        return "out" in self.kwargs or (self.name.endswith("_") and self.name != "requires_grad_")

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
        if self.name in _FILLS:
            return list(_tensors((*self.args[1:], *self.kwargs.values())))
        named = (v for k, v in self.kwargs.items() if k != "out")
        return list(_tensors((*self.args, *named)))

    def on_host(self, hosted: tuple[list[Any], dict[str, Any]], result: Any) -> Any:
        """What it gives there; a target has it.

        Raises:
            RuntimeError: it cannot be done there.
        """
        args, kwargs = hosted
        if self.name in _TO_DEVICE:
            return args[0].to(result.dtype)
        if self.name in _FACTORIES or "device" in kwargs:
            kwargs = {**kwargs, "device": "cpu"}
        if "out" in kwargs:
            kwargs = {**kwargs, "out": torch.empty(0, dtype=kwargs["out"].dtype, device="cpu")}
        found = self.func(*args, **kwargs)
        if self.target is None:
            return found
        return kwargs.get("out", args[0])


class _Weak:
    """A weak reference to a storage: its memory is free without it, its address is not."""

    def __init__(self, storage: Any) -> None:
        self._reference = storage._weak_ref()

    def expired(self) -> bool:
        return bool(torch.UntypedStorage._expired(self._reference))

    def __del__(self) -> None:
        torch.UntypedStorage._free_weak_ref(self._reference)


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except _FAILURES:  # a sparse tensor, or one of a subclass without memory
        return 0


def _has_many_ranks() -> bool:
    """Whether this is one of several processes, whose collectives change what is not seen."""
    distributed = sys.modules.get("torch.distributed")
    return bool(
        distributed
        and distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def _is_plain(tensor: Tensor) -> bool:
    """Whether its memory holds its values, and nothing else does."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type in ("cpu", "cuda")
        and not (tensor.is_complex() or tensor.is_quantized or tensor.is_neg())
    )


def _is_dense(tensor: Tensor) -> bool:
    """Whether each element has a place of its own, with no gaps between them."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _may_be_learned(source: Tensor) -> bool:
    """Whether it comes from the host and may be a parameter, or a buffer of batch norm."""
    return source.device.type == "cpu" and source.is_floating_point() and source.numel() > 1


def _have_functions(arguments: Sequence[Any]) -> bool:
    """``torch.overrides.has_torch_function`` without modes, of which ours is one."""
    plain = torch._C._disabled_torch_function_impl
    return any(
        type(one) not in (Tensor, torch.nn.Parameter)
        and getattr(type(one), "__torch_function__", plain) is not plain
        for one in arguments
    )


def _tensors(given: Sequence[Any]) -> Iterator[Tensor]:
    for one in given:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from _tensors(one)


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(_map(one, change) for one in value)
    return value


def _copy(tensor: Tensor) -> Tensor:
    return tensor if tensor.device.type == "cpu" else _alias(tensor).clone()


def _alias(tensor: Tensor) -> Tensor:
    """A tensor of the host on the pages behind a tensor of the device."""
    storage = tensor.untyped_storage()
    if not storage.nbytes() or not tensor.numel():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    held = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
    flat = torch.frombuffer(
        held, dtype=tensor.dtype, count=storage.nbytes() // tensor.element_size()
    )
    return flat.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
