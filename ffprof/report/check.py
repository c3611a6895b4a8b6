"""The report of a check: what regressed first, then what is open, then a count of the rest."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from statistics import median

from ffprof.analysis.gates.figure import are_tied, told
from ffprof.analysis.gates.result import (
    STATUSES,
    BaselineCheck,
    CheckResult,
    GateResult,
    Metric,
    Status,
    counts,
)
from ffprof.analysis.statistics.intervals import ZONE
from ffprof.errors import harmless
from ffprof.records.audit import Record
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.header import torch_of

_METRICS: dict[Metric, str] = {
    "outcome": "outcome",
    "allocated": "allocated",
    "reserved": "reserved",
    "live": "live tensors",
    "useful_flops": "useful FLOPs",
    "recomputed_flops": "recomputed",
    "operators": "operators",
    "budget": "budget",
    "throughput": "throughput",
    "absolute_throughput": "images/s",
}
_SPEEDS: tuple[Metric, ...] = ("throughput", "absolute_throughput")
_SINGLY = 4  # speeds that are reported one by one
_COLUMNS = (
    Column(name="status", numeric=False),
    Column(name="workload", numeric=False),
    Column(name="metric", numeric=False),
    Column(name="baseline"),
    Column(name="now"),
    Column(name="limit"),
    Column(name="change", wide=True),
    Column(name="interval", wide=True),
)


def checked_document(found: BaselineCheck, *, everything: bool = False) -> Document:
    """The report of one baseline; ``everything`` lists what passed, too."""
    listed = [gate for gate in by_status(found.result) if everything or is_told(gate)]
    blocks = [
        Block(columns=_COLUMNS, rows=tuple(map(_row, listed)), caption=counted(found.result.gates))
    ]
    blocks += [
        Block(heading=status.capitalize(), lines=_sentences(found.result, status))
        for status in STATUSES
        if status != "passed"
    ]
    new = found.result.new
    lines = (f"not in the baseline, so not gated: {', '.join(new)}",) if new else ()
    blocks += [
        Block(heading="New workloads", lines=lines),
        Block(heading="Notes", lines=found.result.notes),
        Block(heading="What to do", lines=tuple(advice(found))),
    ]
    return printable(
        Document(
            title=f"Check of {found.current.subject.removeprefix('preset ')}, "
            f"{found.current.evidence}: {found.finding}",
            setting=tuple(
                f"{when}: {path}, {_run(record)}"
                for when, path, record in (
                    ("baseline", found.baseline_file, found.baseline),
                    ("now", found.current_file or "made by this check", found.current),
                )
                if record is not None
            ),
            blocks=tuple(blocks),
            alarms=found.result.alarms,
        ),
        harmless,
    )


def by_status(result: CheckResult) -> list[GateResult]:
    """All gates, most severe first."""
    return sorted(result.gates, key=lambda gate: STATUSES.index(gate.status))


def is_told(gate: GateResult) -> bool:
    """Whether a gate is listed without being requested.

    Of advice, a relative speed beyond the zone is; images per second are the machine's.
    """
    if gate.status != "advice":
        return gate.status != "passed"
    if gate.unit != "ratio":
        return True
    ratio = gate.ratio or 1.0
    return gate.metric == "throughput" and not 1 - ZONE <= ratio <= 1 / (1 - ZONE)


def counted(gates: Sequence[GateResult]) -> str:
    """``2 regressed, 31 passed``; of how many gates."""
    if not gates:
        return "no gates"
    parts = [f"{count} {status}" for status, count in counts(gates).items() if count]
    return f"{len(gates)} gate{'' if len(gates) == 1 else 's'}: {', '.join(parts)}"


def advice(found: BaselineCheck) -> list[str]:
    """What to do about what was found."""
    if found.updated:
        return [f"the baseline {found.baseline_file} holds the new result now: commit it"]
    command = f"ffprof check --baseline {shlex.quote(found.baseline_file)}"
    if found.current_file:
        command += f" --current {shlex.quote(found.current_file)}"
    command += "".join(f" {shlex.quote(word)}" for word in found.options) + " --update-baseline"
    lines = []
    if found.result.missing and found.current_file:
        lines.append(
            f"finish the new result: ffprof run --resume {shlex.quote(found.current_file)}"
        )
    if found.refused:
        return [*lines, str(found.refused)]
    if found.result.having("regressed"):
        lines.append(f"fix it, or accept it with: {command}")
    elif found.result.having("improved"):
        lines.append(f"to keep the improvement, accept it with: {command}")
    elif found.result.new:
        lines.append(f"to gate new workloads too, make a new baseline: {command}")
    if found.result.having("not measured"):
        lines.append("fix what was not measured; a row that was removed needs a new baseline")
    if any(gate.metric.endswith("throughput") for gate in found.result.having("inconclusive")):
        lines.append("measure with more rounds, or only report throughput: --throughput advice")
    return lines


def _sentences(result: CheckResult, status: Status) -> tuple[str, ...]:
    """One for every gate; of many speeds that nobody can act on singly, one for all."""
    gates = [gate for gate in result.having(status) if is_told(gate)]
    speeds = [gate for gate in gates if gate.metric in _SPEEDS and gate.current is not None]
    if status not in ("inconclusive", "advice") or len(speeds) <= _SINGLY:
        return tuple(gate.sentence for gate in gates)
    others = tuple(gate.sentence for gate in gates if gate not in speeds)
    return (*others, f"throughput of {len(speeds)} workloads: {_resolution(speeds)}")


def _resolution(speeds: Sequence[GateResult]) -> str:
    """How far apart speeds must be for their rounds to tell."""
    widths = [gate.interval[1] / gate.interval[0] for gate in speeds if gate.interval]
    if len(widths) < len(speeds):
        return f"{ZONE:.0%} and more from the baseline's, in the table; it may be noise"
    return (
        f"these rounds distinguish speeds by a factor of {median(widths) ** 0.5:.2f}, in the "
        f"middle "
        "(intervals are in a wide table and in JSON)"
    )


def _row(gate: GateResult) -> tuple[str, ...]:
    # What a figure that fell may rise to decided nothing.
    limit = None if gate.status == "improved" else gate.limit
    values = (gate.baseline, gate.current, limit)
    others = (limit,) if gate.unit == "ratio" else (gate.baseline, limit)
    exact = gate.status != "passed" and any(
        are_tied((gate.current, other), gate.unit) for other in others
    )
    # The metric's name says what is counted.
    shown = [
        "-" if one is None else told(one, gate.unit, exact=exact).removesuffix("FLOPs")
        for one in values
    ]
    change = "-" if gate.ratio is None else f"{gate.ratio - 1:+.2%}"
    interval = f"{gate.interval[0]:.3f}-{gate.interval[1]:.3f}" if gate.interval else "-"
    return (gate.status, gate.workload, _METRICS[gate.metric], *shown, change, interval)


def _run(record: Record) -> str:
    machine = record.machine
    commit = f", commit {machine.commit}" if machine.commit else ""
    rounds = record.plan.rounds
    return (
        f"{record.created:%Y-%m-%d %H:%M}, {torch_of(machine)}{commit}, "
        f"{rounds} round{'' if rounds == 1 else 's'}"
    )
