"""What ``ffprof check`` does: finds baselines, holds new results against them, writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ffprof.analysis.contradictions import changed
from ffprof.analysis.gates.check import CheckOptions, check
from ffprof.analysis.gates.result import BaselineCheck, CheckResult
from ffprof.analysis.gates.thresholds import Thresholds, read_thresholds, require_known, with_budget
from ffprof.analysis.gates.throughput import Mode
from ffprof.errors import UnmeasuredError
from ffprof.experiments.check.baselines import (
    baseline_for,
    baselines_here,
    is_absent,
    new_file,
    none_matches,
    require_measured,
    warnings_on,
    write_baseline,
)
from ffprof.hardware.machine import compare_machines
from ffprof.records.audit import Device, Record
from ffprof.records.store import find_record, load, read_any
from ffprof.workload import workload_names


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """The command line of a check; None is what was not given.

    ``again`` measures or estimates again what a baseline holds, and is given its file; ``begin`` is
    told of all of them before. ``options`` are the words that request the same once more.
    """

    baseline: Path
    current: Path | None
    thresholds: Path | None
    budget: str | None
    throughput: Mode | None
    update: bool
    again: Callable[[Record, Path], Record]
    begin: Callable[[Sequence[tuple[Path, Record]]], None] = lambda pairs: None
    options: tuple[str, ...] = ()


def run_checks(asked: CheckRequest) -> list[BaselineCheck]:
    """Every baseline that was requested, checked; and written again if that was requested.

    Where the new result is no baseline, because figures are missing, nothing is written, and what
    was found says why (``refused``).

    Raises:
        UsageError: something is requested that cannot be meant, or records cannot be compared.
        RecordError: a result file cannot be read.
        StoreError: the baseline cannot be written.
    """
    thresholds = Thresholds() if asked.thresholds is None else read_thresholds(asked.thresholds)
    thresholds = with_budget(thresholds, asked.budget)
    if asked.current is None:
        pairs = baselines_here(asked.baseline)
        _require_known(asked, thresholds, [*workload_names(), *_rows(r for _, r in pairs)])
        asked.begin(pairs)
        found = [
            _checked(asked, thresholds, path, baseline, asked.again(baseline, path), "")
            for path, baseline in pairs
        ]
    else:
        file = find_record(asked.current)
        current = load(file)
        path, baseline = _baseline(asked, current)
        known = [record for record in (baseline, current) if record is not None]
        _require_known(asked, thresholds, _rows(iter(known)))
        found = [_checked(asked, thresholds, path, baseline, current, str(file))]
    if not asked.update:
        return found
    judged = [replace(one, refused=_refusal(one, thresholds)) for one in found]
    if any(one.refused for one in judged):  # all or none
        return judged
    for one in found:
        write_baseline(one.current, Path(one.baseline_file))
    return [_updated(one) for one in found]


def _refusal(found: BaselineCheck, thresholds: Thresholds) -> UnmeasuredError | None:
    try:
        if found.result.alarms:
            raise UnmeasuredError(
                f"the baseline is not updated: {found.result.alarms[1]}", "measure it again"
            )
        _require_outcomes(found)
        require_measured(found.current, thresholds)
    except UnmeasuredError as error:
        return error
    return None


def _updated(found: BaselineCheck) -> BaselineCheck:
    notes = (*found.result.notes, *warnings_on(found.current))
    return replace(found, updated=True, result=replace(found.result, notes=notes))


def _baseline(asked: CheckRequest, current: Record) -> tuple[Path, Record | None]:
    """The baseline of a result, or where there will be one."""
    path = asked.baseline
    if asked.update and is_absent(path):
        return path, None
    found = baseline_for(path, current)
    if found is None:
        if not asked.update:
            raise none_matches(path, current)
        return new_file(path, current), None
    return found


def _checked(
    asked: CheckRequest,
    thresholds: Thresholds,
    path: Path,
    baseline: Record | None,
    current: Record,
    file: str,
) -> BaselineCheck:
    result = CheckResult(gates=())
    if baseline is not None:
        device: Device = "cpu" if baseline.evidence == "measured (cpu)" else "cuda"
        differ = compare_machines(baseline.machine, current.machine, device)
        # Another commit is what is checked; it makes no other machine.
        software = [one for one in differ.software if not one.startswith("commit ")]
        options = CheckOptions(throughput=asked.throughput, machines=(*differ.hardware, *software))
        result = check(baseline, current, thresholds, options)
    files = [str(path)] if baseline is not None else []
    alarms = changed(read_any(one) for one in (*files, *([file] if file else [])))
    return BaselineCheck(
        baseline_file=str(path),
        current_file=file,
        baseline=baseline,
        current=current,
        result=replace(result, alarms=alarms),
        options=asked.options,
    )


def _require_outcomes(found: BaselineCheck) -> None:
    for gate in found.result.having("not measured"):
        if gate.metric == "outcome":
            raise UnmeasuredError(
                f"the baseline is not updated: {gate.sentence}",
                "fix it, or remove the baseline's file to start one without it",
            )


def _rows(records: Iterator[Record]) -> list[str]:
    return [name for record in records for name in record.plan.workloads]


def _require_known(asked: CheckRequest, thresholds: Thresholds, known: list[str]) -> None:
    require_known(thresholds, known, str(asked.thresholds))
