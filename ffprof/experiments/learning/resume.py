"""``ffprof learn --resume``: continue an unfinished study from its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ffprof.analysis.contradictions import note_on
from ffprof.errors import RecordError
from ffprof.experiments.audit.provenance import (
    file_rows,
    found_again,
    look_again,
    recorded_sources,
    registered_rows,
)
from ffprof.experiments.audit.resume import check_options, check_session
from ffprof.experiments.learning.request import AGAIN, LearningRequest
from ffprof.experiments.learning.search import check_optuna, sampler_name
from ffprof.experiments.session import open_session
from ffprof.records.audit import Device
from ffprof.records.files import writing
from ffprof.records.learning import LearningRecord
from ffprof.records.store import find_record, load_learning, newest_first, read_any

# What may be given in addition to ``--resume``: limits, and where files lie now.
_ALLOWED = ("time_limit", "run_limit", "on_foreign", "workload_file", "data", "download")
LEARNING_FILES = ("learning-*.json",)


@contextmanager
def resumed_study(file: Path, given: Mapping[str, Any]) -> Iterator[LearningRequest]:
    """A request for what is missing; with nothing missing, one that starts no process.

    Args:
        file: a result file, or a folder of them, of which the newest unfinished one is meant.
        given: the options that were given, by the name of their parameter.

    Raises:
        FfprofError: the study cannot be resumed here, or not like this.
    """
    check_options(given, _ALLOWED, "study")
    path = find_unfinished_study(file)
    load_learning(path)  # before a lock is made for what is no record
    with writing(path):
        record = _again(load_learning(path))
        device: Device = "cpu" if record.evidence == "measured (cpu)" else "cuda"
        if not record.missing():
            yield LearningRequest(
                record=record, workloads=(), device=device, path=path, context=get_context("spawn")
            )
            return
        if record.missing_trials():
            check_optuna()
        sources = recorded_sources(record, path, given)
        rows = registered_rows(record)
        seen = look_again(record, path, given)
        with open_session(record.recipe, begun=record.machine) as session:
            notes = check_session(session, record.machine, record.recipe, device, path)
            notes += [session.crowd] if session.crowd else []
            rows |= file_rows(record, sources, session.server)
            recipe, moved = found_again(
                record, path, seen, session.server, download="download" in given, dry_run=False
            )
            moved = [*_other_sampler(record), *moved, *note_on(read_any(path))]
            ended = len(record.slots()) - len(record.missing())
            told = (
                f"resumed {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {ended} of "
                f"{len(record.slots())} runs ended"
            )
            plan = record.plan.model_copy(
                update={
                    "trial_limit_seconds": given.get("time_limit", record.plan.trial_limit_seconds),
                    "run_limit_seconds": given.get("run_limit", record.plan.run_limit_seconds),
                }
            )
            update = {
                "recipe": recipe,
                "plan": plan,
                "notes": (*record.notes, told, *notes, *moved)[-200:],
            }
            yield LearningRequest(
                record=record.model_copy(update=update),
                workloads=tuple(rows[name] for name in record.plan.workloads),
                device=device,
                path=path,
                context=session.context(device),
                on_foreign=given.get("on_foreign", "warn"),
                environment=session.environment(recipe),
            )


def find_unfinished_study(path: Path) -> Path:
    """The file itself; of a folder, the newest study that lacks runs, else the newest.

    Files that cannot be read are passed over if another one can.

    Raises:
        RecordError: there is none.
    """
    newest = find_record(path, LEARNING_FILES)
    for file in () if newest == path else newest_first(path, LEARNING_FILES):
        with suppress(RecordError):
            if _again(load_learning(file)).missing():
                return file
    return newest


def _other_sampler(record: LearningRecord) -> tuple[str, ...]:
    """A note, where a search goes on with another version than it began with."""
    if not (record.missing_trials() and record.searches):
        return ()
    began, now = record.searches[0].sampler, sampler_name()
    return () if began == now else (f"tuning began with {began} and goes on with {now}",)


def _again(record: LearningRecord) -> LearningRecord:
    """The record with runs unfinished that ran out of time or crashed: they may go on."""
    runs = tuple(
        run.model_copy(update={"outcome": "unfinished", "message": ""})
        if run.outcome in AGAIN
        else run
        for run in record.runs
    )
    return record.model_copy(update={"runs": runs})
