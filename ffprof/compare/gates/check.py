"""The check: a new record held against a baseline, gate by gate."""

from __future__ import annotations

from dataclasses import dataclass

from ffprof.compare.gates.budget import budget_gate
from ffprof.compare.gates.comparable import notes_on, require_comparable
from ffprof.compare.gates.counts import count_gates
from ffprof.compare.gates.gate import CheckResult, GateResult
from ffprof.compare.gates.memory import memory_gates
from ffprof.compare.gates.outcome import comparable, outcome_gate
from ffprof.compare.gates.pair import Pair, Side
from ffprof.compare.gates.speed import Mode
from ffprof.compare.gates.thresholds import Thresholds
from ffprof.compare.gates.throughput import speed_check
from ffprof.compare.summary import Row, summarise
from ffprof.records.audit import LedgerRow, Record


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What a check is told beside the thresholds.

    ``throughput`` overrides what the thresholds say of it. ``machines`` says in words in what the
    fingerprints of the two machines differ; empty: they match.
    """

    throughput: Mode | None = None
    machines: tuple[str, ...] = ()


def check(
    baseline: Record,
    current: Record,
    thresholds: Thresholds | None = None,
    options: CheckOptions | None = None,
) -> CheckResult:
    """Every gate of the baseline's workloads, in the order of its plan.

    Raises:
        UsageError: the records cannot be compared, or what is asked of throughput cannot be had.
    """
    thresholds, options = thresholds or Thresholds(), options or CheckOptions()
    require_comparable(baseline, current)
    old = {row.workload: row for row in summarise(baseline)}
    new = {row.workload: row for row in summarise(current)}
    gates: list[GateResult] = []
    notes = list(notes_on(baseline, current))
    compared: list[str] = []
    uncounted: dict[str, list[str]] = {"operators": [], "FLOPs": []}
    for name, before in old.items():
        found, said, figures = _gates_of(
            Side(record=baseline, row=before), current, new.get(name), thresholds
        )
        gates += found
        notes += said
        if figures:
            compared.append(name)
            was, now = (one.ledger.get(name, LedgerRow()) for one in (baseline, current))
            if not was.operators:
                uncounted["operators"].append(name)
            if "useful_flops" in now.facts and "useful_flops" not in was.facts:
                uncounted["FLOPs"].append(name)
    for what, names in uncounted.items():
        if names:
            which = "" if len(names) == len(compared) else f" of {', '.join(names)}"
            notes.append(f"{what}{which} are not gated: the baseline does not count them")
    speeds = speed_check(
        baseline,
        current,
        compared,
        thresholds=thresholds,
        mode=options.throughput,
        machines=options.machines,
        marked={name: old[name].marks[0] for name in compared if old[name].marks},
    )
    order = {name: number for number, name in enumerate(old)}
    return CheckResult(
        gates=tuple(sorted([*gates, *speeds.gates], key=lambda gate: order[gate.workload])),
        new=tuple(name for name in new if name not in old),
        notes=(*notes, *speeds.notes),
        missing=len(current.missing()),
    )


def _gates_of(
    before: Side, current: Record, row: Row | None, thresholds: Thresholds
) -> tuple[list[GateResult], list[str], bool]:
    """Gates and notes of one workload, and whether its figures were compared."""
    name, estimated = before.row.workload, current.evidence == "estimated"
    outcome = outcome_gate(before.row, row, estimated=estimated)
    if isinstance(outcome, str):
        return [], [outcome], False
    if row is None or outcome.status == "not measured":
        return [outcome], [], False
    rules = thresholds.of(name)
    after = Side(record=current, row=row)
    found = [outcome]
    if rules.budget.memory is not None and (row.settled == "ok" or row.fit is not None):
        found.append(budget_gate(after, rules.budget.memory))
    if not comparable(before.row, row):
        return found, [], False
    pair = Pair(before=before, after=after, rules=rules)
    found += memory_gates(pair) + count_gates(pair)
    notes = []
    if row.marks:
        notes.append(f"{name} is compared although, as in the baseline, {row.marks[0]}")
    return found, notes, True
