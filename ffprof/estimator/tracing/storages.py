"""The storages on the traced device, from the operator that returned them to their end."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ffprof.errors import UsageError
from ffprof.estimator.stream import Allocation, Category, Line, Phase, Reduction, Scratch, Stream
from ffprof.estimator.tracing.device import device_of

ANOTHER_DEVICE = "use the device that build(device) is given, and its type"
_UNDECIDED = ("temporary", "activation", "other", "data")


@dataclass(slots=True)
class Place:
    """Where the step is: its phase, the module at work, and the operator."""

    phase: Phase = "build"
    module: str = ""
    operator: str = ""
    line: Line = None


class Storages:
    """Writes allocations and frees to a stream.

    Categories are set from outside (``tag``), because only objects know what they are. What is
    made in forward and still there when a backward pass begins is kept for it: an activation.
    """

    def __init__(self, stream: Stream, device: torch.device) -> None:
        self._stream, self._device = stream, device
        self._live: dict[int, tuple[int, Any]] = {}  # storage -> allocation, weak reference
        self._forward: set[int] = set()  # made in forward, and not known to be kept
        self.uncounted = ""
        self.closed = False  # what is let go with the trace itself is no part of the stream

    def see(self, tensor: Tensor, place: Place, category: Category = "temporary") -> None:
        """Count a tensor's storage, if it is new or has another size now.

        Raises:
            UsageError: it is on a device that nothing stands in for.
        """
        device = device_of(tensor)
        if device != self._device:
            if device.type not in ("cpu", "meta"):
                raise UsageError(f"a tensor is made on {device}", ANOTHER_DEVICE)
            return
        if tensor.layout != torch.strided:
            # Of a fake sparse tensor, indices and values are made again each time they are read.
            self.uncounted = str(tensor.layout)
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._live.get(key)
        if known is not None:
            if self._stream.allocations[known[0]].nbytes == size:
                return
            self._released(key)
        number = self.allocate(size, category, place)
        if place.phase in ("forward", "recompute") and category == "temporary":
            self._forward.add(number)
        self._live[key] = (number, weakref.ref(storage, self._ending(key)))

    def tag(self, tensor: object, category: Category, module: str = "") -> None:
        """Say what a storage is, and whose; what was said first counts."""
        if not isinstance(tensor, Tensor) or device_of(tensor) != self._device:
            return
        if tensor.layout != torch.strided:
            self.uncounted = str(tensor.layout)
            return
        found = self._live.get(tensor.untyped_storage()._cdata)
        if found is not None:
            allocation = self._stream.allocations[found[0]]
            if allocation.category in _UNDECIDED:
                allocation.category = category
            allocation.module = allocation.module or module
            self._forward.discard(found[0])

    def leave_out(self, tensor: Tensor) -> None:
        """Not the step's: it counts again from the first view that an operator makes of it."""
        key = tensor.untyped_storage()._cdata
        if key in self._live:
            self._released(key)

    def backward_begins(self) -> None:
        """What is there now of what forward made, is there for backward."""
        for number in self._forward:
            self._stream.allocations[number].category = "activation"
        self._forward.clear()

    def allocate(self, nbytes: int, category: Category, place: Place) -> int:
        """An allocation that no tensor holds; the number by which it is freed."""
        return self._stream.allocate(
            Allocation(nbytes, category, place.phase, place.module, place.operator, line=place.line)
        )

    def call_library(self, call: Scratch, place: Place) -> None:
        """A library call or kernel that may take workspace, and gives it back."""
        parts = 2 if isinstance(call, Reduction) else 1
        numbers = [self.allocate(0, "workspace", place) for _ in range(parts)]
        for part, number in enumerate(numbers):
            self._stream.allocations[number].scratch = call
            self._stream.allocations[number].part = part
        for number in reversed(numbers):
            self._stream.free(number)

    def _ending(self, key: int) -> Callable[[Any], None]:
        return lambda _: self._released(key)

    def _released(self, key: int) -> None:
        number, _ = self._live.pop(key)
        self._forward.discard(number)
        if not self.closed:
            self._stream.free(number)
