"""Running statistics of batch norms must be updated once a step, however often a forward runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def unused_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Norms inside neither read nor update running statistics; outputs are the same."""
    tracking = [norm for norm in _norms(modules) if norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


@contextmanager
def kept_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Forward passes inside leave running statistics as they are, for checkpointing.

    Each norm gets copies to update, which are thrown away. ``unused_statistics`` would do for the
    numbers, but autograd would then save fewer tensors than checkpointing saw the first time.
    """
    norms = _norms(modules)
    kept = [
        {name: value for name, value in norm._buffers.items() if value is not None}
        for norm in norms
    ]
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers.update({name: value.clone() for name, value in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)


def _norms(modules: Iterable[nn.Module]) -> list[_BatchNorm]:
    return [part for module in modules for part in module.modules() if isinstance(part, _BatchNorm)]
