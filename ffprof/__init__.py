"""ffprof: is this way of training really cheaper, on a card people own?

What the commands do, from Python::

    import ffprof

    record = ffprof.run("core", preset="smoke", device="cpu")
    print(record)                             # a table; in a notebook the whole report
    ffprof.compare("before.json", record)     # memory and speed of two results
    ffprof.check("baseline.json", record)     # did anything get worse?
    ffprof.learn("core", data="digits")       # does it also learn?
    ffprof.load("audit.json")                 # a result file of any kind; no torch, no GPU
    ffprof.trials_frame(record)               # a pandas table, one row a trial

Two decorators put a method of one's own into the table (``workload_files=["mine.py"]``)::

    from ffprof import register_step, register_workload

And the GPU memory of any training step, without a GPU::

    found = ffprof.estimate(build)            # build(device) returns a step
    found.advice("RTX 3070")                  # what to change so that it fits
    found = ffprof.estimate(ffprof.model("torchvision:resnet50", batch=32))
"""

from __future__ import annotations

from ffprof.version import __version__

TYPE_CHECKING = False  # that of typing, which takes longer to import than this module
if TYPE_CHECKING:
    from typing import Any

    from ffprof.api import check, compare, load, run
    from ffprof.engine import Emulation, estimate
    from ffprof.estimation import Estimation
    from ffprof.estimator.estimate import Estimate
    from ffprof.records.audit import Record
    from ffprof.report.exporters.frame import trials_frame
    from ffprof.study import learn
    from ffprof.workload.decorators import register_step, register_workload
    from ffprof.workload.models.library import model

__all__ = [
    "Emulation",
    "Estimate",
    "Estimation",
    "Record",
    "__version__",
    "check",
    "compare",
    "estimate",
    "learn",
    "load",
    "model",
    "register_step",
    "register_workload",
    "run",
    "trials_frame",
]
# Where a name stands; it is imported when it is first requested.
_HOME = {
    "Emulation": "ffprof.engine",
    "Estimate": "ffprof.estimator.estimate",
    "Estimation": "ffprof.estimation",
    "Record": "ffprof.api",
    "check": "ffprof.api",
    "compare": "ffprof.api",
    "estimate": "ffprof.engine",
    "learn": "ffprof.study",
    "load": "ffprof.api",
    "model": "ffprof.workload.models.library",
    "register_step": "ffprof.workload.decorators",
    "register_workload": "ffprof.workload.decorators",
    "run": "ffprof.api",
    "trials_frame": "ffprof.report.exporters.frame",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ffprof' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
