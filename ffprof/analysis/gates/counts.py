"""Gates on what a step computes: its floating-point operations and its operators.

Both are counted, not timed: with one version of PyTorch they are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from ffprof.analysis.comparison import operator_changes
from ffprof.analysis.gates.figure import Figure, Pair, Side, not_measured, rise_gate
from ffprof.analysis.gates.result import GateResult, Metric

_FLOPS: tuple[tuple[Metric, str, str], ...] = (
    ("useful_flops", "useful_flops", "the useful FLOPs of a step"),
    ("recomputed_flops", "recomputed_flops", "the recomputed FLOPs of a step"),
)
_LARGEST = 10**30  # more than any computer does in a step
_TOLD = 5  # operators that are named


def count_gates(pair: Pair) -> list[GateResult]:
    """The gates on counts of one workload; none of a count that the baseline does not have."""
    found = []
    for metric, fact, what in _FLOPS:
        before, after = (_flops(side, fact) for side in (pair.before, pair.after))
        rule = pair.rules.flops
        if before is None:
            continue
        if after is None:
            why = f"{what} were not counted"
            found.append(
                not_measured(
                    pair.workload, metric, why, gate=rule.gate, unit="FLOPs", before=before
                )
            )
        else:
            found.append(rise_gate(pair.workload, metric, what, "FLOPs", rule, before, after))
    return found + _operators(pair)


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """The operators of which there are more, those that grew most first, in words."""
    changes = operator_changes(before, after)
    more = {change.name: change.more for change in changes}
    risen = [name for name in more if more[name] > 0]
    named = [f"{name} +{more[name]:,}" for name in risen[:_TOLD]]
    rest = len(risen) - len(named)
    return ", ".join(named) + (f" and {rest} others" if rest > 0 else "")


def _operators(pair: Pair) -> list[GateResult]:
    before, after = pair.before.ledger.operators, pair.after.ledger.operators
    was, now = _total(before), _total(after)
    what, rule = "the number of operators of a step", pair.rules.operators
    if was is None:
        return []
    if now is None:
        why = "the operators of a step were not counted"
        return [
            not_measured(
                pair.workload, "operators", why, gate=rule.gate, unit="operators", before=was
            )
        ]
    return [
        rise_gate(
            pair.workload,
            "operators",
            what,
            "operators",
            rule,
            was,
            now,
            detail=lambda: f"; there are more of {grown(before, after)}",
        )
    ]


def _total(operators: Mapping[str, int]) -> Figure | None:
    return _known(sum(operators.values())) if operators else None


def _flops(side: Side, fact: str) -> Figure | None:
    return _known(side.ledger.facts.get(fact))


def _known(value: object) -> Figure | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
        return None
    return Figure(low=value, high=value)
