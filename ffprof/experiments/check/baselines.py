"""Where baselines lie: one file, or a folder with one for every recipe, evidence and torch."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from ffprof.analysis.gates.thresholds import Thresholds
from ffprof.analysis.ledger import recipe_differences
from ffprof.analysis.summary import Row, summarise
from ffprof.errors import ForeignFileError, RecordError, StoreError, UnmeasuredError, one_line
from ffprof.harness.process.streams import say
from ffprof.records.audit import Record
from ffprof.records.store import load, save

_PATTERN = "*.json"
_AUDIT = "audit-*.json"  # what ffprof run calls them
_LISTED = 8  # baselines or files that an error names
_ODD = re.compile(r"[^A-Za-z0-9.+]+")


def is_absent(path: Path) -> bool:
    """Whether there is nothing at a path."""
    return not os.path.lexists(path)


def baselines_here(path: Path) -> list[tuple[Path, Record]]:
    """The file's record; of a folder, those that were made with the torch that is installed.

    Raises:
        RecordError: one of them cannot be read, or the folder has none for this torch.
    """
    _require_there(path)
    if not _is_folder(path):
        return [(path, load(path))]
    everything = _all_in(path)
    if not everything:
        raise RecordError(
            f"there is no baseline in {path}, which has {_inside(path)}",
            f"name a folder with result files of ffprof run, {_PATTERN}",
        )
    installed = _release(metadata.version("torch"))
    found = [(file, record) for file, record in everything if _torch(record) == installed]
    if not found:
        versions = ", ".join(sorted({_torch(record) for _, record in everything}))
        raise RecordError(
            f"{path} has no baseline for torch {installed}, only for {versions[:300]}",
            "make one: ffprof check --baseline FOLDER --current RESULT --update-baseline",
        )
    return found


def baseline_for(path: Path, current: Record) -> tuple[Path, Record] | None:
    """The file's record; of a folder, the newest that is of the kind of ``current``.

    That is of its recipe, evidence and version of torch. None if a folder has none.

    Raises:
        RecordError: one cannot be read.
    """
    _require_there(path)
    if not _is_folder(path):
        return path, load(path)
    return max(
        (pair for pair in _all_in(path) if _is_same(pair[1], current)),
        key=lambda pair: pair[1].created,
        default=None,
    )


def none_matches(path: Path, current: Record) -> RecordError:
    """The error for a folder without a baseline of a result's kind; it names what is there.

    Of baselines that differ in nothing but the recipe, it names in what the nearest does.
    """
    everything = _all_in(path, told=False)
    there = [
        f"{record.subject.removeprefix('preset ')} {record.evidence} with torch {_torch(record)}"
        for _, record in everything
    ]
    problem = (
        f"{path} has no baseline for this recipe of {current.subject}, "
        f"{current.evidence} with torch {_torch(current)}"
    )
    near = [
        (recipe_differences(record.recipe, current.recipe), file.name)
        for file, record in everything
        if _is_of_kind(record, current)
    ]
    if near:
        differing, name = min(near, key=lambda one: len(one[0]))
        problem += f": of {name} {_listed(differing)} (baseline first)"
    return RecordError(
        f"{problem}; it has {_listed(there) or _inside(path)}",
        "make one with --update-baseline",
    )


def new_file(folder: Path, current: Record) -> Path:
    """A file in a folder for a baseline of a new kind; its name is only made of harmless signs."""
    words = (current.subject.removeprefix("preset "), current.evidence, "torch", _torch(current))
    stem = "-".join(_ODD.sub("-", word).strip("-.")[:60] for word in words)
    path = folder / f"audit-{stem}.json"
    return path if is_absent(path) else folder / f"audit-{stem}-{current.recipe_hash[:8]}.json"


def write_baseline(record: Record, path: Path) -> None:
    """Put a record where the baseline is, in one step.

    Raises:
        StoreError: it cannot be written there.
    """
    try:
        save(record, path.resolve(), elsewhere=False)  # what a link leads to, not the link
    except StoreError as error:
        raise StoreError(error.problem, "name a file in a folder that you may write to") from error


def require_measured(record: Record, thresholds: Thresholds) -> None:
    """Refuse what would be a baseline with nothing in it for some workload.

    A figure of memory that the thresholds do not judge may be absent.

    Raises:
        UnmeasuredError: the next check would be blind to a workload.
    """
    for row in summarise(record):
        why, fix = _objection(row, thresholds)
        if why:
            raise UnmeasuredError(f"the baseline is not updated: {row.workload} {why}", fix)
    missing = len(record.missing())
    if missing:
        told = "1 trial" if missing == 1 else f"{missing} trials"
        verb = "is" if missing == 1 else "are"
        raise UnmeasuredError(
            f"the baseline is not updated: {told} of the new result {verb} missing",
            "finish it with ffprof run --resume",
        )


def warnings_on(record: Record) -> tuple[str, ...]:
    """What the next checks will not be able to judge, although the record may be a baseline."""
    disturbed = [row.workload for row in summarise(record) if row.disturbed]
    if not disturbed:
        return ()
    return (
        f"the new baseline has trials that were disturbed, of {', '.join(disturbed)}: against it "
        "their speed is inconclusive",
    )


def _objection(row: Row, thresholds: Thresholds) -> tuple[str, str]:
    """Why a row may not be in a baseline, and what to do; empty if it may."""
    left_out = "leave it out of the new result with --workloads"
    if row.outcome not in ("ok", "oom"):
        return f"was not measured ({row.outcome or 'not run'})", f"fix it, or {left_out}"
    if row.settled is None and row.fit is None:
        return f"runs out of memory in some rounds only ({row.told_outcomes()})", left_out
    if row.settled == "oom" and row.fit is None:
        return "", ""
    rules = thresholds.of(row.workload)
    if row.device == "cpu":
        figures = [("live", "the peak of live tensors", row.memory, rules.live.gate)]
    else:
        figures = [
            ("allocated", "the allocated peak", row.memory, rules.allocated.gate),
            ("reserved", "the reserved peak", row.reserved, rules.reserved.gate),
        ]
    for metric, what, figure, gated in figures:
        if figure is None and gated:
            return (
                f"has no figure of memory: {what} was not read",
                f"{left_out}, or give its [workloads.NAME.{metric}] gate = false in --thresholds",
            )
    return "", ""


def _require_there(path: Path) -> None:
    if is_absent(path):
        raise RecordError(
            f"there is no baseline {str(path)[:500]}",
            "make it from a result: add --current RESULT --update-baseline",
        )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # reading it will say why


def _all_in(folder: Path, *, told: bool = True) -> list[tuple[Path, Record]]:
    """The audits in a folder; what is none by name and content is passed over, which is ``told``.

    Raises:
        RecordError: one is damaged, or named like an audit and is none.
    """
    try:
        files = sorted(file for file in folder.glob(_PATTERN) if not file.name.startswith("."))
    except OSError as error:
        raise RecordError(
            f"cannot read {folder}: {error.strerror or error}", "name a folder of baselines"
        ) from error
    found = []
    for file in files:
        try:
            found.append((file, load(file)))
        except ForeignFileError as error:
            if file.match(_AUDIT):
                raise
            if told:
                say(f"ffprof: skipped: {error.problem}")
    return found


def _inside(folder: Path) -> str:
    """What is in a folder without a baseline, for an error."""
    try:
        names = sorted(one_line(one.name)[:100] for one in folder.iterdir())
    except OSError as error:
        return f"what cannot be listed ({error.strerror or error})"
    return _listed(names, ", ") or "nothing"


def _listed(words: Sequence[str], between: str = "; ") -> str:
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return between.join(words[:_LISTED]) + more


def _is_same(baseline: Record, current: Record) -> bool:
    return _is_of_kind(baseline, current) and not recipe_differences(
        baseline.recipe, current.recipe
    )


def _is_of_kind(baseline: Record, current: Record) -> bool:
    ours, theirs = (
        (one.evidence, one.machine.null_device, _torch(one)) for one in (baseline, current)
    )
    return ours == theirs


def _torch(record: Record) -> str:
    return _release(record.machine.versions.get("torch", "unknown"))


def _release(version: str) -> str:
    """Without what tells builds of one release apart: ``2.14.1+cpu`` has the same operators."""
    return version.split("+")[0]
