"""What is known of this machine's noise, put into an audit before it is measured."""

from __future__ import annotations

from dataclasses import replace

from ffprof.audit.request import Request
from ffprof.hardware.calibrations import kept_calibration


def with_known_noise(request: Request) -> Request:
    """The request with the noise that a calibration of this machine and setting found.

    A note says so, or that what was kept is damaged. Estimates have no noise.
    """
    if request.target is not None:
        return request
    record = request.record
    found, problem = kept_calibration(record.machine, request.device, record.recipe)
    noise, notes = {}, [problem] if problem else []
    if found is not None:
        known = {row.workload: row.sd for row in found.noise}
        noise = {name: known[name] for name in record.plan.workloads if name in known}
        absent = [name for name in record.plan.workloads if name not in known]
        beside = f"; it does not know {', '.join(absent)}" if absent else ""
        if noise:
            notes.append(
                f"noise of this machine from the calibration of {found.created:%Y-%m-%d %H:%M} "
                f"UTC{beside}"
            )
    notes = [note[:1000] for note in notes]
    update = {"noise": noise, "notes": (*record.notes, *notes)}
    return replace(request, record=record.model_copy(update=update))
