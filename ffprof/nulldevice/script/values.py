"""Values of small tensors that are known: computed on the host, where kernels compute nothing.

A tensor is known if the host filled it, or copied integers to it, or if an operator of
``_OPERATORS`` made it of nothing but known ones. PyTorch's own CUDA code runs such an operator
first, and takes what memory it takes; then PyTorch's code for processors computes what it should
have written, and that is put into the device's memory. All else stays unknown: zeros, or what was
there before.

Whether a tensor was written since is told by PyTorch's version counter. What changes a tensor
behind its back is not seen; so floats from the host, parameters among them, are not known.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST = 65_536  # elements of a tensor
_SMALL_RECORD = 4_096  # tensors that are remembered before those that are gone are looked for
# By their names, as functions; those in place and with an output are meant, too.
_COMPARISONS = "eq ne lt le gt ge isin isnan logical_and logical_or logical_xor logical_not"
_ARITHMETIC = (
    "add sub mul div rsub floor_divide remainder fmod neg abs sign clamp clamp_min clamp_max "
    "maximum minimum bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift "
    "bitwise_right_shift ceil floor round trunc sqrt pow where cumsum cumprod"
)
_REDUCTIONS = "any all sum prod max min amax amin aminmax argmax argmin count_nonzero"
_MOVES = (
    "index index_select index_fill index_add _index_put_impl gather scatter scatter_add "
    "masked_fill masked_scatter take cat flip roll tril triu sort topk searchsorted bucketize"
)
_SOURCES = "fill zero arange linspace eye tril_indices triu_indices"
_OPERATORS = frozenset(" ".join((_COMPARISONS, _ARITHMETIC, _REDUCTIONS, _MOVES, _SOURCES)).split())
# In place, and what they find there is of no matter.
_OVERWRITE = frozenset({"fill_", "zero_", "copy_"})
_UNTOUCHED = ("set_", "resize_", "record_stream")  # they change no value
_NUMBERS = (bool, int, float, complex)
_FAILURES = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError)
Kernel = Callable[..., Any]


class Values:
    """What is known of this process's tensors."""

    def __init__(self) -> None:
        # By the address of a storage, which is not used again while a weak reference is held:
        # its weak reference, and the versions at which it is known.
        self._known: dict[int, tuple[Any, frozenset[int]]] = {}
        self._device = ctypes.CDLL(None)
        self._device.ffprof_null_wrote.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self._device.ffprof_null_counts_are_known.argtypes = (ctypes.c_int,)

    def install(self, library: Any) -> None:
        """Replace the CUDA kernels of all operators whose values are computed."""
        find = vars(torch._C)["_dispatch_has_kernel_for_dispatch_key"]
        for name in vars(torch._C)["_dispatch_get_all_op_names"]():
            namespace, _, own = name.partition("::")
            base = own.partition(".")[0]
            if namespace != "aten" or base in _UNTOUCHED or not find(name, "CUDA"):
                continue
            if base.rstrip("_") in _OPERATORS:
                made = self.kernel(own)
            elif base.endswith("_") or _updates_statistics(base):
                made = self._forgetting(own)
            else:
                continue
            library.impl(own, made, "CUDA", with_keyset=True, allow_override=True)

    def is_known(self, tensor: Tensor) -> bool:
        """Whether it holds the right values."""
        if tensor.device.type == "cpu":
            return True
        found = self._known.get(_storage(tensor))
        if found is None or tensor.requires_grad:
            return False
        return tensor.is_inference() or tensor._version in found[1]  # those have no versions

    def kernel(self, name: str) -> Kernel:
        """An operator's own CUDA kernel, after which its values are computed if they can be."""
        own = torch.library.get_kernel(f"aten::{name}", "CUDA")
        base, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, base), overload or "default")
        changed = [a.name for a in operator._schema.arguments if _is_written(a)]
        outputs = [a.name for a in operator._schema.arguments if _is_written(a) and a.kwarg_only]
        in_place = bool(changed) and not outputs
        overwrites = base in _OVERWRITE
        counts, tells = base == "nonzero", base == "equal"
        numbers = _Numbers.of(operator)

        def computed(keys: Any, *args: Any, **kwargs: Any) -> Any:
            if base == "copy_" and args[0].device.type == "cpu":  # a read of what is there
                return own.call_boxed(keys, *args, **kwargs)
            given = (*args[1:], *kwargs.values()) if overwrites else (*args, *kwargs.values())
            written = [kwargs[one] for one in outputs] if outputs else args[:1] if in_place else []
            known = self._are_known(given, written if outputs else ())
            known = known and not (base == "copy_" and _may_be_learned(args[1]))
            if known and counts:
                self._device.ffprof_null_counts_are_known(1)
            try:
                # Before the kernel, since what is in place may be resized by it.
                inputs = _hosted(args, kwargs, outputs) if known else None
                result = own.call_boxed(keys, *numbers.as_tensors(args), **kwargs)
            finally:
                if known and counts:
                    self._device.ffprof_null_counts_are_known(0)
            if tells:
                return result if inputs is None else operator(*inputs[0])
            small = inputs is not None and all(t.numel() <= MOST for t in _tensors([result]))
            found = _on_host(operator, numbers, *inputs) if inputs and small else None
            if found is None or not self._write_all(found, result, bool(changed)):
                for one in written:
                    self._known.pop(_storage(one), None)
            return result

        return computed

    def _forgetting(self, name: str) -> Kernel:
        """The kernel of an operator that changes what it is given, as nobody computes it."""
        own = torch.library.get_kernel(f"aten::{name}", "CUDA")
        base, _, overload = name.partition(".")
        numbers = _Numbers.of(getattr(getattr(torch.ops.aten, base), overload or "default"))

        def forgetting(keys: Any, *args: Any, **kwargs: Any) -> Any:
            for one in _tensors((*args, *kwargs.values())):
                self._known.pop(_storage(one), None)
            return own.call_boxed(keys, *numbers.as_tensors(args), **kwargs)

        return forgetting

    def _are_known(self, given: Sequence[Any], outputs: Sequence[Any]) -> bool:
        for one in _tensors(given):
            if any(one is other for other in outputs):
                continue
            if one.numel() > MOST or not self.is_known(one):
                return False
            if one.layout is not torch.strided or one.is_quantized:
                return False
        return True

    def _write_all(self, found: Any, result: Any, changes: bool) -> bool:
        """Write what the host has found; false if it is not what the kernel made room for."""
        values, targets = list(_tensors([found])), list(_tensors([result]))
        if [(t.shape, t.dtype) for t in values] != [(t.shape, t.dtype) for t in targets]:
            return False
        for target, value in zip(targets, values, strict=True):
            self._write(target, value, changes)
        return True

    def _write(self, target: Tensor, value: Tensor, changes: bool) -> None:
        storage = target.untyped_storage()
        whole = target.numel() * target.element_size() == storage.nbytes()
        if not whole and not self.is_known(target):  # the rest of it is not known
            self._known.pop(storage._cdata, None)
            return
        if target.numel():
            _alias(target).copy_(value)
            self._device.ffprof_null_wrote(storage.data_ptr(), storage.nbytes())
        # PyTorch counts a change after its kernel, if it counts it at all.
        version = 0 if target.is_inference() else target._version
        versions = frozenset({version, version + 1} if changes else {version})
        self._known[storage._cdata] = (_Weak(storage), versions)
        if len(self._known) > _SMALL_RECORD:
            self._known = {k: one for k, one in self._known.items() if not one[0].expired()}


def _hosted(
    args: Sequence[Any], kwargs: dict[str, Any], outputs: Sequence[str]
) -> tuple[list[Any], dict[str, Any]]:
    """The same arguments with tensors of the host: copies, and empty outputs."""
    hosted = {k: _mapped(v, _copy) for k, v in kwargs.items() if k not in outputs}
    made = {k: torch.empty(0, dtype=kwargs[k].dtype) for k in outputs}
    if "device" in hosted:
        hosted["device"] = torch.device("cpu")
    return [_mapped(one, _copy) for one in args], {**hosted, **made}


def _on_host(operator: Any, numbers: _Numbers, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What an operator gives on the host; None if it cannot be had there."""
    for given in (args, numbers.exact(args)):  # some operators take no number for a tensor
        if given is None:
            continue
        try:
            return operator(*given, **kwargs)
        except _FAILURES:  # also where the step fails here as it does on a GPU
            continue
    return None


class _Weak:
    """A weak reference to a storage: its memory is free without it, its address is not."""

    def __init__(self, storage: Any) -> None:
        self._reference = storage._weak_ref()

    def expired(self) -> bool:
        return bool(torch.UntypedStorage._expired(self._reference))

    def __del__(self) -> None:
        torch.UntypedStorage._free_weak_ref(self._reference)


@dataclass(frozen=True)
class _Numbers:
    """Numbers where an operator takes a tensor, as tensors that give the same type of result.

    PyTorch makes a number of what it calls a wrapped number when it calls Python, and not back.
    ``places`` are those of tensors, ``compared`` those that decide the type of the result.
    """

    places: tuple[int, ...]
    compared: tuple[int, ...]

    @classmethod
    def of(cls, operator: Any) -> _Numbers:
        places = tuple(
            number
            for number, one in enumerate(operator._schema.arguments)
            if "Tensor" in str(one.type) and "List" not in str(one.type) and not one.kwarg_only
        )
        is_where = operator._schema.name == "aten::where"  # its first is a condition
        return cls(places, places[1:] if is_where else places)

    def as_tensors(self, args: Sequence[Any]) -> Sequence[Any]:
        """The arguments for a kernel."""
        found = [n for n in self.places if n < len(args) and isinstance(args[n], _NUMBERS)]
        if not found:
            return args
        made = list(args)
        for number in found:
            others = (args[n] for n in self.compared if n < len(args))
            other = next((one for one in others if isinstance(one, Tensor)), args[number])
            kind = torch.result_type(other, args[number])
            try:
                made[number] = torch.scalar_tensor(args[number], dtype=kind)
            except RuntimeError:  # it is too large for the type
                made[number] = torch.zeros((), dtype=kind)
        return made

    def exact(self, args: Sequence[Any]) -> Sequence[Any] | None:
        """The same, for a result; None if a number is not what it was."""
        made = self.as_tensors(args)
        same = all(
            a is b or (isinstance(a, _NUMBERS) and a == b.item())
            for a, b in zip(args, made, strict=True)
        )
        return made if same else None


def _updates_statistics(name: str) -> bool:
    """Whether it is a batch norm: it changes buffers, and its schema does not say so."""
    return "batch_norm" in name and "backward" not in name


def _may_be_learned(source: Tensor) -> bool:
    """Whether it comes from the host and may be a parameter, or a buffer of batch norm."""
    return source.device.type == "cpu" and source.is_floating_point() and source.numel() > 1


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and bool(argument.alias_info.is_write)


def _tensors(given: Sequence[Any]) -> Iterator[Tensor]:
    for one in given:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from _tensors(one)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [_mapped(one, change) for one in value]
    return value


def _copy(tensor: Tensor) -> Tensor:
    return tensor if tensor.device.type == "cpu" else _alias(tensor).clone()


def _alias(tensor: Tensor) -> Tensor:
    """A tensor of the host on the pages behind a tensor of the device."""
    storage = tensor.untyped_storage()
    if not storage.nbytes() or not tensor.numel():
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    held = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
    count = math.floor(storage.nbytes() / tensor.element_size())
    flat = torch.frombuffer(held, dtype=tensor.dtype, count=count)
    return flat.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
