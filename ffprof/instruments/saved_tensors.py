"""The peak bytes that autograd holds for the backward pass.

Counted through saved-tensor hooks: each storage once, from the first operator that saves it until
the last graph node that saved it is freed. Parameters are not counted, because they are held
anyway. Taken in an untimed pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks


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
