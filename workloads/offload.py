"""Keep what autograd saves on the host until the backward pass requests it.

What a practitioner tries first is ``torch.autograd.graph.save_on_cpu``. This does the same with
less traffic: parameters stay where they are, tensors below ``SMALL_BYTES`` too, and a tensor that
several operators save is copied once each way. Copies go through pinned memory on the stream that
computes, so they are in order with it and the host waits for none of them.

On a CPU there is no other side: the copies are made, and stay on the same device.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

SMALL_BYTES = 1 << 16  # below, a copy costs more than the memory it frees

_Key = tuple[Any, ...]  # which view of a storage, at which version


class _Away:
    """A tensor on the host, and, while anybody holds it, the one brought back."""

    __slots__ = ("__weakref__", "_back", "_device", "_host")

    def __init__(self, tensor: Tensor) -> None:
        self._device = tensor.device
        self._host = torch.empty_like(
            tensor, device="cpu", pin_memory=tensor.device.type == "cuda", requires_grad=False
        )
        self._host.copy_(tensor, non_blocking=True)
        self._back: weakref.ref[Tensor] | None = None

    def bring_back(self) -> Tensor:
        known = self._back() if self._back is not None else None
        if known is not None:
            return known
        back = self._host.to(self._device, non_blocking=True)
        self._back = weakref.ref(back)
        return back


class Offload(torch.autograd.graph.saved_tensors_hooks):
    """Context manager around a forward pass whose saved tensors go to the host.

    Args:
        stays: tensors that are held anyway: parameters and buffers, and the copies of them in
            another type that autocast keeps for the whole forward pass.
    """

    def __init__(self, stays: Iterable[Tensor]) -> None:
        stays = list(stays)
        self._stays = {t.untyped_storage()._cdata for t in stays}
        self._shapes = {t.shape: t.dtype for t in stays}
        self._away: dict[int, weakref.WeakValueDictionary[_Key, _Away]] = {}
        super().__init__(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self._stays or tensor.nbytes < SMALL_BYTES:
            return tensor
        if self._shapes.get(tensor.shape, tensor.dtype) != tensor.dtype:
            return tensor  # a parameter, cast
        views = self._away.get(place)
        if views is None:
            views = self._away[place] = weakref.WeakValueDictionary()
            # Its place may be taken by another storage afterwards.
            weakref.finalize(storage, self._away.pop, place, None).atexit = False
        key = (
            tensor._version, tensor.storage_offset(), tensor.dim(), tuple(tensor.shape),
            tensor.stride(), tensor.dtype,
        )  # fmt: skip
        away = views.get(key)
        if away is None:
            away = views[key] = _Away(tensor)
        return away

    @staticmethod
    def _unpack(packed: Any) -> Tensor:
        tensor: Tensor = packed.bring_back() if isinstance(packed, _Away) else packed
        return tensor
