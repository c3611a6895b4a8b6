"""The devices that a step is traced on: the one that stands in for a GPU, and the processor.

Traced tensors are fake: they have shapes, types and storages of a size, but no memory. Fake
tensors on CUDA cannot run backward without a GPU, so they live on the processor, under a name of
their own: ``cpu:0``. PyTorch treats it as another device than ``cpu``, so a batch that a loop
makes on the host stays apart from what it moves to the GPU, and mixing the two fails as it does
on CUDA. A step of the processor itself is traced on ``cpu``, where every tensor counts.
"""

from __future__ import annotations

import copy
import gc
import threading
from typing import Any, TypeVar

import torch
from torch import nn
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode

from ffprof.errors import UsageError
from ffprof.estimator.allocator import release_of

STAND_IN = torch.device("cpu", 0)
HOST = torch.device("cpu")
_Module = TypeVar("_Module", bound=nn.Module)
OLDEST, NEWEST = (2, 11), (2, 15)  # what the rules were checked against


def check_version() -> None:
    """Refuse a torch whose behaviour the rules were not checked against.

    Raises:
        UsageError: an older or newer torch than the estimator knows.
    """
    version = release_of(torch.__version__)
    if not OLDEST <= version <= NEWEST:
        oldest, newest = (f"{major}.{minor}" for major, minor in (OLDEST, NEWEST))
        raise UsageError(
            f"memory is estimated with torch {oldest} to {newest}, and this is {torch.__version__}",
            f"install torch=={newest}.*, or measure instead",
        )


def device_of(tensor: torch.Tensor) -> torch.device:
    """The device of a tensor; a fake one is not asked by way of the dispatcher."""
    return tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device


class FakeMode(FakeTensorMode):
    """The mode of fake tensors of one thread, which deep copies of them share.

    ``refusal`` is the first use in another thread, whose error that thread may have swallowed.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._thread = threading.get_ident()
        self.refusal: UsageError | None = None

    def __deepcopy__(self, memo: object) -> FakeMode:
        return self

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """As always, but in the thread that traces only: work in others would not be seen.

        Raises:
            UsageError: this is another thread.
        """
        if threading.get_ident() != self._thread:
            self.refusal = self.refusal or UsageError(
                "a step works in another thread, which cannot be traced", "use one thread"
            )
            raise self.refusal
        return super().dispatch(*args, **kwargs)


def fake_copy(module: _Module) -> _Module:
    """A copy of a module on the host whose tensors are fake; only while a step is traced."""
    mode = detect_fake_mode()
    if mode is None:
        raise RuntimeError("nothing is traced")
    with FakeCopyMode(mode):
        return copy.deepcopy(module)


def fake_tensors() -> list[FakeTensor]:
    """All plain ones that Python knows of, since collections pass over what was there before."""
    gc.collect()
    # Asking the type, not the object: see ``present_tensors``.
    found = [thing for thing in gc.get_objects() if type(thing) is FakeTensor]
    return [t for t in found if t.layout == torch.strided]
