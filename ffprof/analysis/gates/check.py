"""The check: a new record held against a baseline, gate by gate, if the two may be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ffprof.analysis.gates.counts import count_gates
from ffprof.analysis.gates.figure import Pair, Side
from ffprof.analysis.gates.memory import budget_gate, memory_gates
from ffprof.analysis.gates.outcome import comparable, outcome_gate
from ffprof.analysis.gates.result import CheckResult, GateResult
from ffprof.analysis.gates.thresholds import Thresholds
from ffprof.analysis.gates.throughput import Mode, SpeedGates, speed_check
from ffprof.analysis.ledger import recipe_differences
from ffprof.analysis.summary import Row, summarise
from ffprof.errors import UsageError
from ffprof.records.audit import LedgerRow, Record
from ffprof.records.store import same_content
from ffprof.units import format_bytes

# A driver that takes a little more or less of a card makes no other card of it.
SAME_TOTAL = 0.01
ITSELF = "the new result is the baseline itself (same digest), so nothing can differ"


def require_comparable(baseline: Record, current: Record) -> None:
    """Refuse what would compare different things.

    Raises:
        UsageError: kinds of evidence, recipes or budgets differ; it names in what.
    """
    if baseline.evidence != current.evidence:
        raise UsageError(
            f"the baseline is {baseline.evidence} and the new result {current.evidence}, which "
            "are never compared",
            f"give a result that is {baseline.evidence}, or a baseline that is {current.evidence}",
        )
    if baseline.machine.null_device != current.machine.null_device:
        raise UsageError(
            "one of the two was made on a null device, and the other on a GPU",
            "give two results of a null device, or two of a GPU",
        )
    differing = recipe_differences(baseline.recipe, current.recipe)
    if differing:
        raise UsageError(
            f"the recipes differ: {'; '.join(differing)} (baseline first)",
            "measure with the baseline's recipe, or remove the baseline and make it again "
            "with --update-baseline",
        )
    ours, theirs = baseline.budget, current.budget
    if ours.card != theirs.card or not _near(ours.total_bytes, theirs.total_bytes):
        cards = " and ".join(
            f"{one.card or one.requested or 'no card'} with {format_bytes(one.total_bytes)}"
            for one in (ours, theirs)
        )
        raise UsageError(
            f"the budgets differ: {cards} (baseline first)",
            "give the new result the baseline's --card or --gpu-mem",
        )


def notes_on(baseline: Record, current: Record) -> tuple[str, ...]:
    """What differs between two comparable records and may be why figures differ."""
    found = []
    counted = "estimates, FLOPs and operators repeat with one version only"
    for name, tail in (("torch", f": {counted}"), ("ffprof", "")):
        was, now = (record.machine.versions.get(name) for record in (baseline, current))
        if was != now:
            found.append(f"{name} is {now or 'not known'} and was {was or 'not known'}{tail}")
    if baseline.budget.total_bytes != current.budget.total_bytes:
        found.append(
            f"the budget's card offers {current.budget.total_bytes:,} B and offered "
            f"{baseline.budget.total_bytes:,} B"
        )
    for which, record in (("baseline", baseline), ("new result", current)):
        missing = len(record.missing())
        if missing:
            told = "1 of its trials is" if missing == 1 else f"{missing} of its trials are"
            found.append(f"the {which} is not complete: {told} missing")
    return tuple(found)


def _near(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one == other
    return abs(one - other) <= SAME_TOTAL * max(one, other)


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What a check is given in addition to the thresholds.

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
    if same_content(baseline, current):
        speeds = _of_itself(speeds)
    order = {name: number for number, name in enumerate(old)}
    return CheckResult(
        gates=tuple(sorted([*gates, *speeds.gates], key=lambda gate: order[gate.workload])),
        new=tuple(name for name in new if name not in old),
        notes=(*notes, *speeds.notes),
        missing=len(current.missing()),
    )


def _of_itself(speeds: SpeedGates) -> SpeedGates:
    """However much noise there is, nothing differs from itself."""
    gates = tuple(
        replace(one, status="passed", sentence=f"{one.workload}: {ITSELF}")
        if one.status == "inconclusive"
        else one
        for one in speeds.gates
    )
    return SpeedGates(gates=gates, notes=(ITSELF, *speeds.notes))


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
