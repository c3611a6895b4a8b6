"""The peak bytes of live tensors, and of what autograd holds for the backward pass.

Live tensors are the memory measure of a CPU audit. The CPU allocator keeps no peak, and the
resident set depends on what the C library frees; the tensors alive at once depend on the
method alone, so the figure repeats to the byte. It is taken in a separate, untimed pass because
watching every operator costs time. Each storage counts once, at its size, from the operator that
returned it until its memory is released, in forward, backward and optimizer. Scratch memory that an
operator takes and frees inside one call is not seen. Sparse COO tensors count as their indices
and values; a tensor of another layout without a plain storage (CSR, nested, MKL-DNN) is named in
``uncounted``, and the peak is then not whole.

What autograd holds is counted through saved-tensor hooks: each storage once, from the first
operator that saves it until the last graph node that saved it is freed. Parameters are not counted,
because they are held anyway. This pass is untimed too.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
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


class _Holder:
    """What a graph node keeps in place of a tensor; its death is the tensor's release."""

    __slots__ = ("_book", "_key", "tensor")

    def __init__(self, book: SavedTensors, key: int, tensor: torch.Tensor) -> None:
        self._book, self._key, self.tensor = book, key, tensor

    def __del__(self) -> None:
        self._book._release(self._key)


class SavedTensors:
    """Context manager; ``peak_bytes`` is the most that was held while it was entered."""

    def __init__(self, parameters: Iterable[torch.Tensor] = ()) -> None:
        self._excluded = {p.untyped_storage()._cdata for p in parameters}
        self._counts: Counter[int] = Counter()
        self._sizes: dict[int, int] = {}
        self.held_bytes = 0
        self.peak_bytes = 0
        self.hidden = False
        self._hooks = saved_tensors_hooks(self._pack, self._unpack)
        self._enter = saved_tensors_hooks.__enter__

    def __enter__(self) -> SavedTensors:
        self._hooks.__enter__()
        # Whoever enters hooks while this is entered takes over from these.
        enter = self._enter

        def notice(hooks: saved_tensors_hooks) -> None:
            self.hidden = True
            enter(hooks)

        saved_tensors_hooks.__enter__ = notice  # type: ignore[method-assign]
        return self

    def __exit__(self, *exc_info: object) -> None:
        saved_tensors_hooks.__enter__ = self._enter  # type: ignore[method-assign]
        self._hooks.__exit__(*exc_info)

    def _pack(self, tensor: torch.Tensor) -> Any:
        if tensor.layout != torch.strided:
            return tensor
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._excluded:
            return tensor
        if self._counts[key] == 0:
            self._sizes[key] = storage.nbytes()
            self.held_bytes += self._sizes[key]
            self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        self._counts[key] += 1
        return _Holder(self, key, tensor)

    @staticmethod
    def _unpack(packed: Any) -> torch.Tensor:
        tensor: torch.Tensor = packed.tensor if isinstance(packed, _Holder) else packed
        return tensor

    def _release(self, key: int) -> None:
        self._counts[key] -= 1
        if self._counts[key] == 0:
            del self._counts[key]
            self.held_bytes -= self._sizes.pop(key)
