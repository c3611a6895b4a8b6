"""Where the tensors of optimizers and modules are now: categories and modules by address."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ffprof.nulldevice.script.holders import GRADIENTS, PARAMETERS, STATE
from ffprof.nulldevice.script.modules import SURPRISES, Modules


class Addresses:
    """Of one moment; ``kinds`` and ``modules`` are by device, then by address."""

    def __init__(self, modules: Modules, optimizers: Iterable[Any]) -> None:
        self.kinds: dict[int, dict[int, str]] = defaultdict(dict)
        self.modules: dict[int, dict[int, str]] = defaultdict(dict)
        paths: dict[int, str] = {}
        for path, one in modules.parameters():
            paths[id(one)] = path
            self._note(one, PARAMETERS, path)
            self._note(_gradient(one), GRADIENTS, path)
        for path, one in modules.buffers():
            self._note(one, "", path)
        for optimizer in optimizers:
            self._note_optimizer(optimizer, paths)

    @property
    def devices(self) -> set[int]:
        """Those that any of the tensors is on."""
        return {*self.kinds, *self.modules}

    def _note_optimizer(self, optimizer: Any, paths: dict[int, str]) -> None:
        for group in optimizer.param_groups:
            for one in group["params"]:
                self._note(one, PARAMETERS, paths.get(id(one)))
                self._note(_gradient(one), GRADIENTS, paths.get(id(one)))
        for holder, state in list(optimizer.state.items()):
            for one in state.values() if isinstance(state, dict) else ():
                self._note(one, STATE, paths.get(id(holder)))

    def _note(self, tensor: Any, kind: str, path: str | None) -> None:
        import torch

        try:
            if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
                return
            if tensor.device.type != "cuda":
                return
            device, address = tensor.device.index, tensor.untyped_storage().data_ptr()
        except SURPRISES:  # a wrapper without a storage, or a parameter without a shape yet
            return
        if kind:
            self.kinds[device].setdefault(address, kind)
        if path is not None:
            self.modules[device].setdefault(address, path)


def _gradient(tensor: Any) -> Any:
    try:
        return tensor.grad if tensor.is_leaf else None
    except SURPRISES:
        return None
