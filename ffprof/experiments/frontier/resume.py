"""``ffprof frontier --resume``: continue an unfinished frontier.

Everything comes from the record; the two time limits, what to do about others on the GPU, and the
plot may be given beside. What is to be run next is a function of the record, so nothing is lost
and nothing is run twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ffprof.analysis.contradictions import note_on
from ffprof.analysis.frontier.standings import wave
from ffprof.errors import UsageError
from ffprof.experiments.audit.resume import check_options, check_session
from ffprof.experiments.frontier.request import FrontierRequest
from ffprof.experiments.request import Request
from ffprof.experiments.selection import change_recipe
from ffprof.experiments.session import open_session
from ffprof.harness.data.discovery import check_data
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.streams import say
from ffprof.records.audit import Device, Plan, Record
from ffprof.records.files import writing
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.records.store import find_record, load_frontier, read_any
from ffprof.workload import Description, find_workload

_BESIDE = ("time_limit", "run_limit", "on_foreign", "plot", "resume")


@contextmanager
def resumed_frontier(file: Path, given: Mapping[str, Any]) -> Iterator[FrontierRequest]:
    """What is left of a frontier, as long as this context lasts.

    Args:
        file: a frontier's file, or a folder, of which the newest is meant.
        given: the options that were written, by the name of their parameter.

    Raises:
        FfprofError: it cannot be resumed here, or not like this.
    """
    check_options(given, _BESIDE, "frontier")
    path = find_record(
        file, ("frontier-*.json",), ("frontier", "run ffprof frontier --out DIR first")
    )
    load_frontier(path)  # before a lock is made for what is no record
    with writing(path):
        record = load_frontier(path)
        device = _device(record, path)
        rows = _rows(record)
        with open_session(record.recipe, begun=record.machine) as session:
            notes = check_session(session, record.machine, record.recipe, device, path)
            check_data(record.recipe, None)
            if wave(record, every=record.every_point):
                done = sum(len(point.trials) for point in record.points)
                told = f"resumed {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {done} trials done"
                notes = [*record.notes, told, *notes, *note_on(read_any(path))]
                notes = [*notes, *([session.crowd] if session.crowd else [])][-200:]
                record = record.model_copy(update={"stopped": "", "notes": tuple(notes)})
            yield FrontierRequest(
                audit=Request(
                    record=_audit(record, rows),
                    workloads=tuple(rows.values()),
                    device=device,
                    path=path,
                    context=session.context(device),
                    environment=session.variables,
                ),
                record=record,
                recipes={point.id: _recipe(record, point, rows) for point in record.points},
                target=None,  # everything is estimated already
                path=path,
                trial_limit_seconds=given.get("time_limit", record.trial_limit_seconds),
                run_limit_seconds=given.get("run_limit"),
                guard=Guard(
                    record.machine.gpu_uuid if device == "cuda" else None,
                    given.get("on_foreign", "warn"),
                    say=say,
                ),
            )


def _device(record: FrontierRecord, path: Path) -> Device:
    if record.kind != "frontier" or record.evidence == "estimated":
        raise UsageError(f"{path} is not a measured frontier", "there is nothing to resume")
    if any(point.guess is None and point.standing != "refused" for point in record.points):
        raise UsageError(f"{path} was stopped before all points were estimated", "start it again")
    if record.recipe.data in FILE_DATA:
        raise UsageError(f"{path} reads its data from files", "start it again")
    return "cpu" if record.evidence == "measured (cpu)" else "cuda"


def _rows(record: FrontierRecord) -> dict[str, Description]:
    """The workloads, which must still be described as they were."""
    rows: dict[str, Description] = {}
    for point in record.points:
        one = rows.setdefault(point.workload, find_workload(point.workload))
        if (one.method, one.family, one.schedule) != (point.method, point.family, point.schedule):
            raise UsageError(
                f"workload {one.id!r} is described differently than when the frontier was started",
                "resume with the package as it was, or start a new frontier",
            )
    return rows


def _recipe(record: FrontierRecord, point: Point, rows: Mapping[str, Description]) -> Recipe:
    changes: dict[str, Any] = {
        "precision": point.precision,
        "memory_format": point.memory_format,
    }
    if rows[point.workload].accumulates:
        changes["micro_batch"] = point.micro_batch
    return change_recipe(record.recipe, changes)


def _audit(record: FrontierRecord, rows: Mapping[str, Description]) -> Record:
    """What a trial of the recipe is started with."""
    return Record(
        created=record.created,
        ffprof=record.ffprof,
        command=record.command,
        recipe=record.recipe,
        recipe_hash=record.recipe.digest(),
        plan=Plan(
            workloads=tuple(rows),
            families={one.id: one.family for one in rows.values()},
            rounds=record.rounds,
            trial_limit_seconds=record.trial_limit_seconds,
        ),
        budget=record.budget,
        machine=record.machine,
        evidence=record.evidence,
    )
