"""What a step asks PyTorch about the GPU is answered as on the GPU, or refused with its line.

Without a GPU, PyTorch answers that there is none, and with another one it tells of that one; a
step that decides by it, such as ``autocast(enabled=torch.cuda.is_available())``, would be traced
as another step than the one that runs. Only the user's own lines are answered so: PyTorch and
other libraries ask in order to use CUDA, which is not there. And a function that is compiled would
be traced as if it were not.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch._dynamo.eval_frame

from ffprof.errors import UsageError

_OURS = str(Path(__file__).resolve().parents[2])
_LIBRARIES = (
    *{str(Path(sysconfig.get_path(kind))) for kind in ("stdlib", "purelib", "platlib")},
    str(Path(torch.__file__).parent),
    _OURS,
)
# What the GPU would say, whichever it is: there is one, and it has been waited for.
_ANSWERS: dict[str, Any] = {
    "is_available": True,
    "is_initialized": True,
    "device_count": 1,
    "current_device": 0,
    "synchronize": None,
    "empty_cache": None,
    "reset_peak_memory_stats": None,
}
# What depends on the card, or on what only a real allocator knows.
_REFUSED = (
    "get_device_properties", "get_device_name", "mem_get_info", "memory_allocated",
    "max_memory_allocated", "memory_reserved", "max_memory_reserved", "memory_stats",
)  # fmt: skip
COMPILED = (
    "a function is compiled: its kernels keep other tensors than the traced operators",
    "estimate it before torch.compile, on the null device, or measure it on a GPU",
)


@contextmanager
def answered(capability: tuple[int, int]) -> Iterator[None]:
    """While a step is traced: questions of the user's lines are those of a GPU of this capability.

    Raises:
        UsageError: in the block, where a line asks what only a card knows, or runs compiled code.
    """

    def has_bf16(including_emulation: bool = True) -> bool:
        return including_emulation or capability >= (8, 0)

    told = {**_ANSWERS, "get_device_capability": capability}
    found: dict[str, Any] = {
        name: _answering(name, lambda *_, at=value, **__: at) for name, value in told.items()
    }
    found["is_bf16_supported"] = _answering("is_bf16_supported", has_bf16)
    found |= {name: _answering(name, _refusal(name)) for name in _REFUSED}
    with mock.patch.multiple(torch.cuda, **found), _nothing_compiled():
        yield


def _answering(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    real = getattr(torch.cuda, name)

    def asked(*args: Any, **kwargs: Any) -> Any:
        file = sys._getframe(1).f_code.co_filename
        return (real if file.startswith(_LIBRARIES) else answer)(*args, **kwargs)

    return asked


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise UsageError(
            f"the step asks what only a GPU can tell (torch.cuda.{name})",
            "leave it out of the step that is estimated, or estimate on the null device",
        )

    return refuse


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    module: Any = torch._dynamo.eval_frame
    real = module._callback_from_stance

    def looked_at(callback: Any) -> Any:
        if callback not in (None, False):
            raise UsageError(*COMPILED)
        return real(callback)

    with mock.patch.object(module, "_callback_from_stance", looked_at):
        yield
