"""Values of small tensors that are known: computed on the host, where kernels compute nothing.

A tensor is known if a script filled it, or copied integers to it, or if a function of ``COMPUTED``
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
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ffprof.nulldevice.script.calls import (
    COMPUTED,
    FAILURES,
    FILLS,
    FROM_HOST,
    HAND_OUT,
    MOST,
    PROPERTIES,
    SIZED_BY_VALUES,
    SOURCES,
    TO_DEVICE,
    Call,
    Weak,
    address_of,
    alias_of,
    copy_of,
    has_many_ranks,
    have_functions,
    is_dense,
    is_plain,
    is_small,
    is_watched,
    mapped,
    may_be_learned,
    tensors_in,
)

_REMEMBERED = 4_096  # tensors, before those that are gone are looked for
_Quiet = Callable[[], AbstractContextManager[None]]


class Values(TorchFunctionMode):
    """What is known of this thread's tensors, as long as it is on PyTorch's stack of modes."""

    def __init__(self) -> None:
        super().__init__()
        # By the address of a storage, which is not used again while a weak reference is held: the
        # reference, and PyTorch's count of changes at which it is known.
        self._known: dict[int, tuple[Weak, int]] = {}
        self._doubtful: dict[int, Weak] = {}  # of the host, read from what is not known
        self._look_at = _REMEMBERED
        self._on = False
        self._quiet: _Quiet = contextlib.nullcontext
        self._device: Any = None

    def install(self) -> None:
        """Be the lowest of this thread's modes; nothing is looked at before ``begin``."""
        self.__enter__()  # type: ignore[no-untyped-call]
        # Layers ask whether an argument has functions of its own before they take a fast path, and
        # so does what is scripted.
        vars(torch.overrides)["has_torch_function"] = have_functions
        vars(torch.jit._builtins)["_register_builtin"](have_functions, "aten::has_torch_function")
        self._see_recomputation()

    def _see_recomputation(self) -> None:
        """Checkpointed parts run again in autograd's thread, and must see what they saw before."""
        from torch.utils import checkpoint

        thread = threading.get_ident()

        def seeing(function: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                with contextlib.nullcontext() if threading.get_ident() == thread else self:
                    return function(*args, **kwargs)

            return run

        frame = vars(checkpoint)["_CheckpointFrame"]
        made = frame.__init__

        def init(one: Any, recompute: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
            made(one, seeing(recompute), *args, **kwargs)

        frame.__init__ = init
        reentrant = checkpoint.CheckpointFunction
        reentrant.backward = staticmethod(seeing(reentrant.backward))  # type: ignore[method-assign]

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
        with torch._C.DisableTorchFunction():  # where this is on, this asks, and not a script
            return self._is_known(tensor)

    def _is_known(self, tensor: Tensor) -> bool:
        if tensor.device.type == "cpu":
            return not self._doubtful or address_of(tensor) not in self._doubtful
        found = self._known.get(address_of(tensor))
        if found is None or not self._on or tensor.requires_grad or tensor.is_inference():
            return False
        return tensor._version == found[1] and not has_many_ranks()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and see what follows for what is known."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if torch.compiler.is_compiling() or is_watched() or not (self._on or name in SOURCES):
            return func(*args, **kwargs)
        call = hosted = None
        try:
            if name in HAND_OUT and self._known:
                self._hand_out(func, name, args)
            listed = name in COMPUTED or name.removesuffix("_") in COMPUTED
            if listed and self._on and not self._is_hopeless(name, args):
                call = Call(func, name, args, kwargs)
                hosted = self._hosted(call)
                if hosted is not None:
                    return self._computed(call, hosted)
            result = func(*args, **kwargs)
            if name in SOURCES and self._on:
                self._made(Call(func, name, args, kwargs), result)
            to_host = isinstance(result, Tensor) and result.device.type == "cpu"
            if self._known or self._doubtful or (to_host and self._on):
                self._changed(call or Call(func, name, args, kwargs), result)
            return result
        except BaseException:
            args, kwargs, call, hosted = (), {}, None, None  # whoever handles it holds this frame
            raise

    def _hand_out(self, func: Any, name: str, args: Any) -> None:
        """Forget a tensor whose memory may be changed by others from here on."""
        of = getattr(func, "__self__", None)
        if name != "__get__" or getattr(of, "__name__", "") in PROPERTIES:
            for one in tensors_in(args):
                self._known.pop(address_of(one), None)

    def _made(self, call: Call, result: Any) -> None:
        """What comes from the host is right as it is; what is filled is filled here, too."""
        if type(result) is not Tensor or not result.is_cuda or result.requires_grad:
            return
        if result.numel() > MOST or not is_plain(result):
            return
        if call.name in FROM_HOST:
            given = call.given
            moved = all(one.device.type == "cpu" and self.is_known(one) for one in given)
            if moved and not (given and may_be_learned(given[0])):
                self._remember(result)
        elif not call.given:
            with contextlib.suppress(*FAILURES), torch.no_grad():
                value = call.func(*call.args, **{**call.kwargs, "device": "cpu"})
                if (value.shape, value.dtype) == (result.shape, result.dtype):
                    self._write(result, value, rest=False)

    def _is_hopeless(self, name: str, args: Any) -> bool:
        """Whether what is given first is not known, as mostly; a quick look."""
        first = args[0] if args else None
        return (
            isinstance(first, Tensor)
            and first.is_cuda
            and name not in FILLS
            and address_of(first) not in self._known
        )

    def _changed(self, call: Call, result: Any) -> None:
        """Forget what a function may have changed that is not computed."""
        given = call.given
        changed = given if "_norm" in call.name else call.changed  # buffers of batch norm change
        for one in changed:
            self._known.pop(address_of(one), None)
        to_host = [one for one in tensors_in((result,)) if one.device.type == "cpu"]
        if to_host and not all(map(self.is_known, given)):
            for one in to_host:
                storage = one.untyped_storage()
                self._doubtful[storage._cdata] = Weak(storage)
            if len(self._doubtful) > _REMEMBERED:
                self._doubtful = {k: v for k, v in self._doubtful.items() if not v.expired()}

    def _hosted(self, call: Call) -> tuple[list[Any], dict[str, Any]] | None:
        """The arguments on the host; None if nothing is to be computed, or not all is known."""
        inputs, target = call.inputs, call.target
        every = inputs if target is None else [*inputs, target]
        moves = call.name in TO_DEVICE
        if all(one.device.type == "cpu" for one in every) or (call.in_place and target is None):
            return None
        if any(one.numel() > MOST or not is_plain(one) for one in every):
            return None
        if not all(map(self.is_known, inputs)):
            return None
        if (moves or call.name == "copy_") and (not inputs or may_be_learned(inputs[0])):
            return None
        try:
            with torch.no_grad():
                hosted = mapped(list(call.args), copy_of), mapped(call.kwargs, copy_of)
            return hosted if is_small(call.name, *hosted) else None
        except FAILURES:  # of a type that the host cannot copy
            return None

    def _computed(self, call: Call, hosted: tuple[list[Any], dict[str, Any]]) -> Any:
        if call.name in SIZED_BY_VALUES:
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
        made = list(tensors_in((result if call.target is None else call.target,)))
        if call.name == "equal":
            return call.on_host(hosted, result)
        if any(one.numel() > MOST for one in made):
            return result
        try:
            found = list(tensors_in((call.on_host(hosted, result),)))
        except FAILURES:  # not for this type, or the step fails here as it does on a GPU
            found = []
        ours = {address_of(one) for one in call.inputs} if call.target is None else set()
        for number, one in enumerate(made):
            value = found[number] if number < len(found) else None
            if value is None or (value.shape, value.dtype) != (one.shape, one.dtype):
                self._known.pop(address_of(one), None)
            elif address_of(one) not in ours and (one.is_cuda or call.name == "to"):
                self._write(one, value, rest=rest)  # a view of what is known needs nothing
        return result

    def _write(self, target: Tensor, value: Tensor, *, rest: bool) -> None:
        """Put values into a tensor; ``rest``: all that its storage held before is known."""
        if target.device.type == "cpu":  # moved there, and converted on its way
            target.copy_(value)
            return
        storage = target.untyped_storage()
        whole = target.numel() * target.element_size() == storage.nbytes() and is_dense(target)
        if not is_plain(target) or target.is_inference() or not (whole or rest):
            self._known.pop(storage._cdata, None)
            return
        if target.numel():
            with torch.no_grad():
                alias_of(target).copy_(value)
            self._device.ffprof_null_wrote(storage.data_ptr(), storage.nbytes())
        self._remember(target)

    def _remember(self, target: Tensor) -> None:
        """It holds what it should, as it is now."""
        if target.is_inference():
            return
        storage = target.untyped_storage()
        self._known[storage._cdata] = (Weak(storage), target._version)
        if len(self._known) > self._look_at:
            self._known = {k: one for k, one in self._known.items() if not one[0].expired()}
            self._look_at = max(_REMEMBERED, 2 * len(self._known))
