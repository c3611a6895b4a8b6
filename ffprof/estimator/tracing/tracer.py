"""Writes the stream: watches every operator of a step, and every storage it makes or lets go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ffprof.errors import UsageError
from ffprof.estimator.cuda.requests import Sequence
from ffprof.estimator.stream import Category, Operator, Scratch, Stream
from ffprof.estimator.tracing.accumulation import MAKES_ZEROS, WRITES, last_reference, sum_in_place
from ffprof.estimator.tracing.device import STAND_IN, device_of
from ffprof.estimator.tracing.kernels import Kernels
from ffprof.estimator.tracing.lines import Lines
from ffprof.estimator.tracing.modules import ModulePaths
from ffprof.estimator.tracing.storages import Place, Storages
from ffprof.estimator.tracing.values import Values, stays_real
from ffprof.instruments.operators import does_work, flops_of, passing

BEGINS = " begins"  # how the mark before a step ends; those of its parts end otherwise
# Fake tensors ask this of themselves; real ones never do.
_ASKS_DEVICE = torch.ops.prim.device.default
_INITIALISE = {
    torch.ops.aten.normal_.default,
    torch.ops.aten.uniform_.default,
    torch.ops.aten.fill_.Scalar,
    torch.ops.aten.zero_.default,
    torch.ops.aten.erfinv_.default,
    torch.ops.aten.mul_.Tensor,
    torch.ops.aten.add_.Tensor,
    torch.ops.aten.clamp_.default,
}
_MOVES = {torch.ops.aten._to_copy.default: 0, torch.ops.aten.copy_.default: 1}


class Tracer(TorchDispatchMode):
    """Sees every operator while it is entered.

    Args:
        kernels: how operators behave on the device that is traced.
        mode: the fake tensors' mode, entered outside of this one.
        paths: says which module's work is going on.
        values: answers what is asked of values.
    """

    def __init__(
        self, kernels: Kernels, mode: FakeTensorMode, paths: ModulePaths, values: Values
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = kernels.device
        self.stream = Stream()
        self.storages = Storages(self.stream, self.device)
        self.in_optimizer = False
        self.optimizer_task, self.optimizer_records = -1, False
        self.values = values
        self._building = True
        self._kernels, self._mode, self._paths = kernels, mode, paths
        self._for_gpu = self.device == STAND_IN
        self._place, self._lines = Place(), Lines()
        self._last = last_reference()
        self._zeros = 0  # the storage of zeros that the operator before made for a derivative

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is _ASKS_DEVICE and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        if self._building and func in _INITIALISE and isinstance(args[0], FakeTensor):
            return args[0]  # what a weight begins with is no matter
        if self._for_gpu and FakeTensor not in types:
            if stays_real(func, args, kwargs):
                with unset_fake_temporarily():
                    return func(*args, **kwargs)
            # Converted here, so that no operator works on the values of a single number.
            args, kwargs = tree_map_only(Tensor, self._mode.from_tensor, (args, kwargs))
        if func.is_view:
            result = func(*args, **kwargs)
            self._forget()
            if not self._for_gpu:  # of a batch that was made out of sight
                self._see_all(func, result, (), "data")
            return result
        self._locate(func)
        if self._for_gpu and self._place.phase == "backward":
            with torch._C.DisableTorchFunction():
                total = sum_in_place(func, args, self._last)
                if total is None and func in WRITES and _storage(args[0]) == self._zeros:
                    total = args[0]
                    place, kernels = self._place, self._kernels
                    sequence = kernels.sequence_of(func, args, kwargs, total, place.phase)
                    self._follow(sequence or [], "temporary")
                if total is not None:
                    self._note(func, args, kwargs, total)
                    return total
            result = self._run(func, args, kwargs)
            self._zeros = _storage(result) if func in MAKES_ZEROS else 0
            return result
        return self._run(func, args, kwargs)

    def built(self) -> None:
        """The build is over: what follows is training."""
        self._building = False
        # On the host a real tensor next to fake ones would be one that is not counted.
        self._mode.allow_non_fake_inputs = self._for_gpu
        self.stream.mark("built")
        for module in self._paths.modules():
            path = self._paths.of_module(module)
            for parameter in module.parameters(recurse=False):
                self.storages.tag(parameter, "parameter", path)
            for buffer in module.buffers(recurse=False):
                self.storages.tag(buffer, "buffer", path)

    def holder(self, parameter: Tensor) -> str:
        """The path of the module that holds a parameter, or nothing."""
        return self._paths.of_parameter(parameter)

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around one training step.

        Raises:
            UsageError: it did nothing that was seen.
        """
        self.stream.mark(f"step {number}{BEGINS}")
        before = len(self.stream.operators)
        yield
        if len(self.stream.operators) == before:
            raise UsageError(
                "a step does nothing on the device that build was given",
                "make model and data on that device, whatever torch.cuda.is_available() says",
            )
        self.stream.mark(f"step {number} ends")

    def name(self, root: nn.Module) -> None:
        """Name the parts of a module that was put together out of sight."""
        self._paths.name(root)

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        storages, place = self.storages, self._place
        if self._building:
            result = self._kernels.run(func, args, kwargs)
            self._forget()
            self._see_all(func, result, (), "other")
            return result
        with torch._C.DisableTorchFunction():  # our own questions are nobody's business
            sizes = self._kernels.temporaries_of(func, args)
            copies = [storages.allocate(n, "temporary", place) for n in sizes]
        # Lists changed in place: nothing is made, and checking hundreds of tensors takes time. On
        # the host the number of a step is among them, whose value must not be kept.
        silent = (
            self._for_gpu
            and not func._schema.returns
            and place.operator.startswith("aten._foreach_")
        )
        result = None if silent else self._kernels.run(func, args, kwargs)
        self._forget()
        with torch._C.DisableTorchFunction():
            at = _MOVES.get(func)
            arrives = at is not None and self._is_outside(args[at])
            if arrives and place.phase == "forward":
                place.phase = "data"
            category: Category = "data" if arrives else "temporary"
            sequence = self._kernels.sequence_of(func, args, kwargs, result, place.phase)
            if sequence is not None:
                self._follow(sequence, category)
            else:
                calls = self._kernels.calls_of(func, args, kwargs, result, place.phase)
                scratch = self._kernels.scratch_of(func, args, kwargs, result)
                self._see_all(func, result, calls, category, scratch)
            for number in copies:
                self.stream.free(number)
            self._note(func, args, kwargs, result)
        return result

    def _is_outside(self, value: Any) -> bool:
        return isinstance(value, Tensor) and device_of(value) != self.device

    def _forget(self) -> None:
        """What is remembered of tensors keeps their modules from being moved to a device."""
        memo = self._mode.fake_tensor_converter.meta_converter.tensor_memo
        if memo:
            memo.clear()

    def _locate(self, func: Any) -> None:
        place, before = self._place, self._place.phase
        place.operator = str(func._overloadpacket)
        place.line = self._lines.here()
        if self._building:
            place.module = self._paths.here()
            return
        now = passing()
        if self.in_optimizer and self._updates():
            place.phase, place.module = "optimizer", ""
        elif now == "backward":
            node = torch._C._current_autograd_node()
            place.phase, place.module = "backward", self._paths.of_node(node)
            place.line = self._lines.of_node(node) or place.line
        else:
            place.phase, place.module = now, self._paths.here()
            self._paths.record()
            self._lines.record(place.line)
        if place.phase == "backward" and before != "backward":
            self.storages.backward_begins()

    def _updates(self) -> bool:
        """Whether an optimizer works on parameters, rather than a closure that it was given.

        That makes a graph of its own, in forward with gradients on.
        """
        closure = torch.is_grad_enabled() and not self.optimizer_records
        return not closure and torch._C._current_graph_task_id() == self.optimizer_task

    def _see_all(
        self,
        func: Any,
        result: Any,
        calls: tuple[Scratch, ...],
        category: Category,
        scratch: tuple[int, ...] = (),
    ) -> None:
        storages, waiting = self.storages, list(calls)
        if func._schema.returns:
            for tensor in _tensors((self._kernels.ordered(func, result),)):
                storages.see(tensor, self._place, category)
                if waiting and not scratch:  # one call an output, made when that has its memory
                    storages.call_library(waiting.pop(0), self._place)
        numbers: list[int] = []
        held: dict[int, None] = {}
        for size in scratch:
            if size < 0:
                del held[numbers[-size - 1]]
                self.stream.free(numbers[-size - 1])
            else:
                numbers.append(storages.allocate(size, "temporary", self._place))
                held[numbers[-1]] = None
        for call in waiting:
            storages.call_library(call, self._place)
        for number in reversed(held):
            self.stream.free(number)

    def _follow(self, sequence: Sequence, category: Category) -> None:
        """Allocate as a sequence says."""
        numbers: list[int] = []
        held: dict[int, None] = {}
        for one in sequence:
            if isinstance(one, Tensor):
                self.storages.see(one, self._place, category)
            elif not isinstance(one, int):
                self.storages.call_library(one, self._place)
            elif one < 0:
                del held[numbers[-one - 1]]
                self.stream.free(numbers[-one - 1])
            else:
                numbers.append(self.storages.allocate(one, "temporary", self._place))
                held[numbers[-1]] = None
        for number in reversed(held):
            self.stream.free(number)

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        if not does_work(func):
            return
        inputs, outputs = _tensors((*args, *kwargs.values())), _tensors((result,))
        every = [*inputs, *outputs]
        if not any(device_of(t) == self.device for t in every):
            return
        floats = [t.element_size() for t in every if t.is_floating_point()]
        self.stream.operators.append(
            Operator(
                name=self._place.operator,
                phase=self._place.phase,
                module=self._place.module,
                flops=flops_of(func, args, kwargs, result),
                read_bytes=sum(t.numel() * t.element_size() for t in inputs),
                written_bytes=sum(t.numel() * t.element_size() for t in outputs),
                element_bytes=min(floats, default=every[0].element_size()),
                position=len(self.stream.events),
                recorded=torch.is_grad_enabled(),
            )
        )


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """In the order in which they stand, lists of lists included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found
