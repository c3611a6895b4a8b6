"""``ffprof run --max-batch ... --resume FILE``: the same command goes on with its result file.

A search is asked for by its options, which are typed again and must lead to the recipe, budget and
evidence of the file; what it found to the end is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ffprof.analysis.contradictions import note_on
from ffprof.analysis.ledger import recipe_differences
from ffprof.errors import RecordError, UsageError
from ffprof.experiments.capacity.plan import prepare_search
from ffprof.experiments.capacity.request import CapacityRequest, Grown
from ffprof.experiments.capacity.runner import STOPPED
from ffprof.experiments.options import Options
from ffprof.hardware.machine import compare_machines
from ffprof.records.audit import Device
from ffprof.records.files import writing
from ffprof.records.frontier import FrontierRecord
from ffprof.records.store import find_record, load_frontier, read_any


@contextmanager
def resumed_search(options: Options, grown: Grown, file: Path) -> Iterator[CapacityRequest]:
    """What is left of a search, as long as this context lasts.

    Args:
        options: those that it was begun with, typed again.
        grown: what grows.
        file: its result file, or a folder, of which the newest search is meant.

    Raises:
        FfprofError: it cannot be resumed here, or not like this.
    """
    path = find_record(file, ("capacity-*.json",), ("search", "name its result file"))
    _of(path, grown)  # before a lock is made for what is no record
    with writing(path), prepare_search(options, grown) as asked:
        record = _of(path, grown)
        _check(record, asked, path)
        kept = {
            one.workload: one for one in record.capacities if not one.message.startswith(STOPPED)
        }
        left = tuple(one for one in asked.workloads if one.id not in kept)
        told = f"resumed {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {len(kept)} workloads searched"
        notes = [note for note in record.notes if not note.startswith(STOPPED)]
        notes += [told, *note_on(read_any(path))] if left else []
        record = record.model_copy(
            update={"capacities": tuple(kept.values()), "notes": tuple(notes)}
        )
        yield replace(asked, record=record, workloads=left, path=path)


def _of(path: Path, grown: Grown) -> FrontierRecord:
    if not path.exists():
        raise RecordError(f"there is no result file {path}", "name that of a search")
    record = load_frontier(path)
    kind = {one.grown for one in record.capacities}
    if record.kind != "capacity" or kind - {grown}:
        raise UsageError(
            f"{path} is no search for the largest {grown.replace('-', ' ')}", "name one that is"
        )
    return record


def _check(record: FrontierRecord, asked: CapacityRequest, path: Path) -> None:
    now = asked.record
    differ = list(recipe_differences(record.recipe, now.recipe))
    if record.evidence != now.evidence:
        differ.append(f"evidence is {now.evidence} and was {record.evidence}")
    ours, theirs = (
        (one.card, one.total_bytes, one.display_bytes) for one in (record.budget, now.budget)
    )
    if ours != theirs:
        differ.append("the budget is another one")
    device: Device = "cpu" if record.evidence == "estimated" else "cuda"
    machines = compare_machines(record.machine, now.machine, device)
    differ += machines.software
    differ += machines.hardware if device == "cuda" else ()
    if differ:
        raise UsageError(
            f"{path} cannot be resumed like this: {'; '.join(differ)[:600]}",
            "type the options that it was begun with, or start a new search",
        )
