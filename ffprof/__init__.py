"""ffprof: is this way of training really cheaper, on a card people own?

The recorded audit is the interface between measuring and reporting::

    import ffprof

    record = ffprof.load("audit.json")     # no torch, no GPU
    frame = ffprof.trials_frame(record)    # a pandas table, one row a trial

Two decorators put a method of one's own into the table (``ffprof run --workload-file mine.py``)::

    from ffprof import register_step, register_workload

And what any training step would take of a GPU's memory, without one::

    found = ffprof.estimate(build)         # build(device) returns a step
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffprof.version import __version__

if TYPE_CHECKING:
    from ffprof.estimator.api import estimate
    from ffprof.estimator.estimate import Estimate
    from ffprof.records.audit import Record
    from ffprof.records.store import load
    from ffprof.report.exporters.frame import trials_frame
    from ffprof.workload.decorators import register_step, register_workload

__all__ = [
    "Estimate",
    "Record",
    "__version__",
    "estimate",
    "load",
    "register_step",
    "register_workload",
    "trials_frame",
]


def __getattr__(name: str) -> Any:
    if name == "Record":
        from ffprof.records.audit import Record

        return Record
    if name == "estimate":
        from ffprof.estimator.api import estimate

        return estimate
    if name == "Estimate":
        from ffprof.estimator.estimate import Estimate

        return Estimate
    if name == "load":
        from ffprof.records.store import load

        return load
    if name == "trials_frame":
        from ffprof.report.exporters.frame import trials_frame

        return trials_frame
    if name in ("register_step", "register_workload"):
        from ffprof.workload import decorators

        return getattr(decorators, name)
    raise AttributeError(f"module 'ffprof' has no attribute {name!r}")
