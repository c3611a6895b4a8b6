"""Python imports this first, as its folder is on PYTHONPATH; it waits for torch and does nothing.

The ``sitecustomize`` of the user or the system, which this one hides, is imported after it.
"""

import contextlib
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def _begin() -> None:
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # no pathlib yet
    sys.path[:] = [one for one in sys.path if os.path.abspath(one) != here]  # noqa: PTH100
    if "FFPROF_SCRIPT_FOLDER" in os.environ:
        with contextlib.suppress(ImportError):  # of another Python; the parent says so
            from ffprof.nulldevice.script.hook import wait_for_torch

            wait_for_torch()
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


_begin()
