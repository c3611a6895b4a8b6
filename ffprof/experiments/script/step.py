"""A training step that is a function, carried into a process on the device and taken there.

``build`` travels by value where it must (a function of the main program or of a notebook, a
lambda, a closure) and by name where it can (of a module, which the process imports again). What
stands behind it is pickled with it: a model that was made outside of ``build`` is copied.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ffprof.errors import UsageError, one_line
from ffprof.experiments.script.request import ScriptRequest, ScriptTarget
from ffprof.experiments.script.runner import run_on
from ffprof.harness.process.folder import temporary_folder
from ffprof.nulldevice.script.step import write_step
from ffprof.records.script import ScriptEstimate

Build = Callable[[Any], Callable[[], object]]
_MODULE = "ffprof.nulldevice.script.step"


def pickled(build: Build) -> bytes:
    """As bytes that another process of this Python makes the function from.

    Raises:
        UsageError: something that it refers to cannot be copied.
    """
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:  # then by name alone
        dumps: Callable[[Any], bytes] = pickle.dumps
        fix = "install cloudpickle, or define build at the top of a module that is imported"
    else:
        dumps = cloudpickle.dumps
        fix = "make that inside of build(device)"
    try:
        return dumps(build)
    except Exception as error:  # objects raise whatever they like where they are copied
        why = one_line(str(error))[:200]
        raise UsageError(
            f"{name_of(build)} cannot be carried into another process ({why})", fix
        ) from error


def name_of(build: Build) -> str:
    """What it is called in messages: its name in its module."""
    return getattr(build, "__qualname__", type(build).__name__)


def emulate_step(made: bytes, request: ScriptRequest, target: ScriptTarget) -> ScriptEstimate:
    """Take ``request.steps`` steps on the device, and tell what they took.

    Args:
        made: what ``pickled`` made of ``build``.
        request: its command is of no matter.
        target: the device.

    Raises:
        NullDeviceError: the device cannot be built.
    """
    with temporary_folder("ffprof-step-") as folder:
        path = folder / "step"
        write_step(made, request.steps, path)
        command = (sys.executable, "-P", "-m", _MODULE, str(path))
        return run_on(replace(request, command=command), target)
