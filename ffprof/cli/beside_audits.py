"""What frontiers and searches for the largest size take over from an audit of the same options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ffprof.audit.request import Request
from ffprof.cli.starting import say
from ffprof.harness.process.guard import Guard, Policy
from ffprof.records.frontier import FrontierRecord


def record_beside(
    audit: Request, kind: Literal["frontier", "capacity"], **more: Any
) -> FrontierRecord:
    """A record that is begun like the audit's; ``more`` are its own fields."""
    record = audit.record
    return FrontierRecord(
        kind=kind,
        created=record.created,
        ffprof=record.ffprof,
        command=record.command,
        recipe=record.recipe,
        budget=record.budget,
        machine=record.machine,
        evidence=record.evidence,
        **more,
    )


def path_beside(audit: Request, kind: Literal["frontier", "capacity", "calibration"]) -> Path:
    """The file of the audit, named for the other kind."""
    return audit.path.with_name(audit.path.name.replace("audit-", f"{kind}-", 1))


def guard_over(audit: Request, policy: Policy) -> Guard:
    """Over the GPU that is measured on, if any is."""
    if audit.device == "cpu" or audit.target is not None:
        return Guard(None)
    return Guard(audit.record.machine.gpu_uuid, policy, say=say)
