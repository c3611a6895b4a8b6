"""Writes the stream: watches every operator of a step, and every storage it makes or lets go."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from ffprof.errors import UsageError
from ffprof.estimate.host_tensors import stays_real
from ffprof.estimate.library_calls import calls_of, corrected, temporaries_of
from ffprof.estimate.module_paths import ModulePaths
from ffprof.estimate.standin import STAND_IN
from ffprof.estimate.stream import Allocation, Category, Operator, Phase, Scratch, Stream
from ffprof.instruments.flops import flops_of, passing

# Fake tensors ask this of themselves; real ones never do.
_ASKS_DEVICE = torch.ops.prim.device.default
# These make memory and touch none.
_FREE = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
    torch.ops.aten.detach.default,
}
_FIX = "use the device that build(device) is given, and its type"
_CUDA_AUTOCAST = ("autocast is on for 'cuda', which would cast nothing here", _FIX)
_MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class Tracer(TorchDispatchMode):
    """Counts storages on the stand-in device from the operator that returned them on.

    Args:
        mode: the fake tensors' mode, entered outside of this one.
        paths: says which module's work is going on.
    """

    def __init__(self, mode: FakeTensorMode, paths: ModulePaths) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stream = Stream()
        self.building = True
        self.closed = False  # what is let go with the trace itself is no part of the stream
        self.in_optimizer = False
        self._paths, self._mode = paths, mode
        self._live: dict[int, tuple[int, Any]] = {}  # storage -> allocation, weak reference
        self._forward: set[int] = set()  # allocated in forward, and not known to be kept
        self._phase: Phase = "build"
        self._path = ""
        self._begins = 0
        self.uncounted = ""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cuda"):
            raise UsageError(*_CUDA_AUTOCAST)
        if func is _ASKS_DEVICE:
            return func(*args, **kwargs)
        if FakeTensor not in types:
            if stays_real(func, args, kwargs):
                with unset_fake_temporarily():
                    return func(*args, **kwargs)
            # Converted here, so that no operator works on the values of a single number.
            args, kwargs = tree_map_only(Tensor, self._mode.from_tensor, (args, kwargs))
        if func.is_view:
            result = func(*args, **kwargs)
            self._forget()
            return result
        self._locate()
        scratch: tuple[Scratch, ...] = ()
        extra: list[int] = []
        if self._phase != "build":
            extra = [self._allocate(n, "temporary", func) for n in temporaries_of(func, args)]
        result = corrected(func, args, func(*args, **kwargs))
        self._forget()
        if self._phase != "build":
            scratch = calls_of(func, args, result, self._phase)
        self._see_all(func, args, kwargs, result, scratch)
        for number in extra:
            self.stream.free(number)
        if not self.building:
            self._note(func, args, kwargs, result)
        return result

    def built(self) -> None:
        """The build is over: what follows is training."""
        self.building = False
        self.stream.mark("built")
        for module in self._paths.modules():
            for parameter in module.parameters(recurse=False):
                self.tag(parameter, "parameter")
            for buffer in module.buffers(recurse=False):
                self.tag(buffer, "buffer")

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around one training step."""
        self.stream.mark(f"step {number} begins")
        yield
        self.stream.mark(f"step {number} ends")

    def name(self, root: nn.Module) -> None:
        """Name the parts of a module that was put together out of sight."""
        self._paths.name(root)

    def _forget(self) -> None:
        """What is remembered of tensors keeps their modules from being moved to a device."""
        memo = self._mode.fake_tensor_converter.meta_converter.tensor_memo
        if memo:
            memo.clear()

    # What is known of storages from outside

    def tag(self, tensor: Tensor, category: Category) -> None:
        """Say what a storage is; the first time counts, but parameters before all."""
        if not isinstance(tensor, Tensor) or tensor.device != STAND_IN:
            return
        found = self._live.get(tensor.untyped_storage()._cdata)
        if found is not None:
            allocation = self.stream.allocations[found[0]]
            if allocation.category in ("temporary", "activation", "other", "data"):
                allocation.category = category
            self._forward.discard(found[0])

    def adopt(self, tensor: Tensor) -> None:
        """Count a tensor that was made out of sight."""
        if tensor.device == STAND_IN:
            self._locate()
            self._see(tensor, torch.ops.aten.empty.memory_format)

    def number_of(self, tensor: Tensor) -> int | None:
        """Which allocation holds a tensor."""
        found = self._live.get(tensor.untyped_storage()._cdata)
        return None if found is None else found[0]

    # Where we are

    def _locate(self) -> None:
        before = self._phase
        if self.building:
            self._phase = "build"
            self._path = self._paths.here()
            return
        now = passing()
        if self.in_optimizer:
            self._phase, self._path = "optimizer", ""
        elif now == "backward":
            node = torch._C._current_autograd_node()
            self._phase, self._path = "backward", self._paths.of_node(node)
        else:
            self._phase, self._path = now, self._paths.here()
            self._paths.record()
        if self._phase == "backward" and before != "backward":
            for number in self._forward:
                self.stream.allocations[number].category = "activation"
            self._forward.clear()

    # What an operator makes

    def _see_all(
        self, func: Any, args: Any, kwargs: Any, result: Any, scratch: tuple[Scratch, ...]
    ) -> None:
        if isinstance(result, Tensor):
            self._see(result, func, args)
            for call in scratch:
                self._scratch(call, func)
            return
        if not isinstance(result, (tuple, list)):
            return
        calls = list(scratch)
        for leaf in result if func._schema.returns else ():
            for tensor in (leaf,) if isinstance(leaf, Tensor) else tree_leaves(leaf):
                if isinstance(tensor, Tensor):
                    self._see(tensor, func, args)
                    if calls:  # one call an output, made when its output has its memory
                        self._scratch(calls.pop(0), func)
        for call in calls:
            self._scratch(call, func)

    def _see(self, tensor: Tensor, func: Any, args: Any = ()) -> None:
        if tensor.device != STAND_IN:
            if tensor.device.type not in ("cpu", "meta"):
                raise UsageError(f"a tensor is made on {tensor.device}", _FIX)
            return
        if tensor.layout == torch.sparse_coo:
            self._see(tensor._indices(), func)
            self._see(tensor._values(), func)
            return
        if tensor.layout != torch.strided:
            self.uncounted = str(tensor.layout)
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._live.get(key)
        if known is not None:
            if self.stream.allocations[known[0]].nbytes == size:
                return
            self._released(key)  # resized: other memory, the new before the old in CUDA
        category: Category = "temporary"
        if (
            self._phase != "build"
            and func in _MOVES
            and args
            and _on_host(args[-1 if len(args) > 1 else 0])
        ):
            category = "data"
        number = self._allocate(size, category, func)
        if self._phase in ("forward", "recompute") and category == "temporary":
            self._forward.add(number)
        self._live[key] = (number, weakref.ref(storage, self._ending(key)))

    def _ending(self, key: int) -> Callable[[Any], None]:
        return lambda _: self._released(key)

    def _released(self, key: int) -> None:
        number, _ = self._live.pop(key)
        self._forward.discard(number)
        if not self.closed:
            self.stream.free(number)

    def _allocate(self, nbytes: int, category: Category, func: Any) -> int:
        return self.stream.allocate(
            Allocation(nbytes, category, self._phase, self._path, str(func._overloadpacket))
        )

    def _scratch(self, call: Scratch, func: Any) -> None:
        number = self._allocate(0, "workspace", func)
        self.stream.allocations[number].scratch = call
        self.stream.free(number)

    # What it does

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        flops = flops_of(func, args, kwargs, result)
        element = 0
        read = written = 0
        here = False
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                here = here or leaf.device == STAND_IN
                read += leaf.numel() * leaf.element_size()
                element = element or leaf.element_size()
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                here = here or leaf.device == STAND_IN
                written += leaf.numel() * leaf.element_size()
                element = element or leaf.element_size()
        if here and func not in _FREE:
            self.stream.operators.append(
                Operator(
                    name=str(func._overloadpacket),
                    phase=self._phase,
                    module=self._path,
                    flops=flops,
                    recorded=torch.is_grad_enabled(),
                    read_bytes=read,
                    written_bytes=written,
                    element_bytes=element,
                    position=len(self.stream.events),
                )
            )


def _on_host(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device != STAND_IN
