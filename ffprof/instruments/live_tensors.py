"""The peak bytes of live tensors: what a step holds, counted storage by storage.

This is the memory measure of a CPU audit. The CPU allocator keeps no peak, and the resident set
depends on what the C library gives back; the tensors alive at once depend on the method alone, so
the figure repeats to the byte. It is taken in a separate, untimed pass because watching every
operator costs time.

Sparse COO tensors count as their indices and values; a tensor of another layout without a plain
storage (CSR, nested, MKL-DNN) is named in ``uncounted``, and the peak is then not whole.

It counts each storage once, at its size, from the operator that returned it until its memory is
released, in forward, backward and optimizer. It does not see scratch memory that an operator
takes and gives back inside one call.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Counts the live bytes of tensors on one device type while it is entered.

    Args:
        device_type: ``cpu`` or ``cuda``.
        held: tensors that exist already and count from the start: parameters, buffers,
            gradients, optimizer state.
    """

    def __init__(self, device_type: str, held: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device_type = device_type
        self._sizes: dict[int, int] = {}
        self.live_bytes = 0
        self.peak_bytes = 0
        self.uncounted = ""
        for tensor in held:
            self._see(tensor)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf)
        return result

    def _see(self, tensor: torch.Tensor) -> None:
        if tensor.device.type != self._device_type:
            return
        if tensor.layout == torch.sparse_coo:
            self._see(tensor._indices())
            self._see(tensor._values())
            return
        if tensor.layout != torch.strided:
            self.uncounted = str(tensor.layout)
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        size = storage.nbytes()
        known = self._sizes.get(key)
        if known is None:
            weakref.finalize(storage, self._released, key).atexit = False
        elif known == size:
            return
        self._sizes[key] = size
        self.live_bytes += size - (known or 0)
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _released(self, key: int) -> None:
        self.live_bytes -= self._sizes.pop(key)
