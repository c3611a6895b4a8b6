"""Turns what stops a trace into one line that names the user's own line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)

from ffprof.errors import UsageError

_OURS = Path(__file__).resolve().parents[1]
_TORCH = Path(torch.__file__).resolve().parent
_OTHER_DEVICES = ("same device", "different devices", "found two different devices")


@contextmanager
def refusing() -> Iterator[None]:
    """Raise what cannot be estimated as a ``UsageError``; other errors are the user's own."""
    try:
        yield
    except UsageError as error:
        raise UsageError(error.problem + _where(error), error.fix) from error
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise UsageError(
            f"the operator {error.func} has a result whose size or value depends on values"
            + _where(error),
            "replace it, or leave it out of the step that is estimated",
        ) from error
    except UnsupportedOperatorException as error:
        raise UsageError(
            f"the operator {error.func} has no fake kernel, so its memory is not known"
            + _where(error),
            "register one with torch.library.register_fake",
        ) from error
    except UserWarning as error:
        raise UsageError(
            f"something is set up for 'cuda' rather than the device that build was given"
            f" ({error})" + _where(error),
            "use device.type of the device that build(device) is given",
        ) from error
    except (RuntimeError, AssertionError) as error:
        text = str(error)
        if any(sign in text for sign in _OTHER_DEVICES):
            raise UsageError(
                "the step mixes a tensor on the CPU with one on the GPU" + _where(error),
                "make both on the device that build(device) is given",
            ) from error
        if "convert all Tensors to FakeTensors" in text:
            raise UsageError(
                "it works on tensors that are not in its module" + _where(error),
                "make them attributes of the module",
            ) from error
        if "Couldn't swap" in text:
            raise UsageError(
                f"a module cannot be moved to the device ({text.splitlines()[0][:200]})"
                + _where(error),
                "make it there: with torch.device(device): ...",
            ) from error
        if "nvidia" in text.lower() or "torch not compiled with cuda" in text.lower():
            raise UsageError(
                "CUDA itself is called" + _where(error),
                "use the device that build(device) is given, or estimate on the null device",
            ) from error
        if isinstance(error, AssertionError) and _where(error) and not _from_user(error):
            raise UsageError(
                f"PyTorch cannot do this on tensors without values ({text[:200] or 'no words'})"
                + _where(error),
                "leave it out of the step that is estimated",
            ) from error
        if "fake" in text.lower() or "cuda" in text.lower():
            raise UsageError(
                f"the step cannot be traced ({text.splitlines()[0][:200]})" + _where(error),
                "make everything inside build(device), on the device that it is given",
            ) from error
        raise


def _from_user(error: BaseException) -> bool:
    """Whether an error was raised by a line that is neither torch's nor ours."""
    frames = traceback.extract_tb(error.__traceback__)
    return not {_OURS, _TORCH} & set(Path(frames[-1].filename).resolve().parents)


def _where(error: BaseException) -> str:
    """The innermost line that is neither torch's nor ours."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_file() and not {_OURS, _TORCH} & set(path.parents):
            return f", at {path.name}:{frame.lineno}: {frame.line or ''}"
    return ""
