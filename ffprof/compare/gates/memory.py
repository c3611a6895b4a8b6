"""Gates on memory: does a workload take more than it did?

On a GPU the allocated and the reserved peak of the steady phase, measured or estimated; on a
processor the peak of live tensors. The cold reserved peak has no gate of its own: autotuning
decides it, which follows the version of cuDNN and not what is being checked. It counts where it
decides, against the budget.
"""

from __future__ import annotations

from ffprof.compare.gates.gate import GateResult, Metric
from ffprof.compare.gates.pair import Pair, Side, not_measured
from ffprof.compare.gates.rise import Figure, rise_gate
from ffprof.compare.gates.thresholds import Rise
from ffprof.compare.summary import MEMORY_FIELD

_RESERVED = "the reserved peak"


def memory_gates(pair: Pair) -> list[GateResult]:
    """The gates on memory of one workload; what either side did not read is not measured."""
    if pair.after.row.device == "cpu":
        return _main(pair, "live", "the peak of live tensors", pair.rules.live)
    allocated = _main(pair, "allocated", "the allocated peak", pair.rules.allocated)
    return allocated + _reserved(pair)


def _main(pair: Pair, metric: Metric, what: str, rule: Rise) -> list[GateResult]:
    before, after = (Figure.of(side.row.memory) for side in (pair.before, pair.after))
    if before is None or after is None:
        field = MEMORY_FIELD[pair.after.row.device]
        return [_unread(pair, metric, what, field, rule, before, after)]
    return [rise_gate(pair.workload, metric, what, "bytes", rule, before, after)]


def _reserved(pair: Pair) -> list[GateResult]:
    rule = pair.rules.reserved
    before, after = (Figure.of(side.row.reserved) for side in (pair.before, pair.after))
    if before is None or after is None:
        field = "reserved_peak_bytes"
        return [_unread(pair, "reserved", _RESERVED, field, rule, before, after)]
    what = _RESERVED
    if pair.before.row.capped or pair.after.row.capped:
        # Where a limit did not bind, what was reserved under it is what is reserved without one.
        was, now = _free(pair.before, before), _free(pair.after, after)
        if was is None:
            return [_saturated(pair, pair.before, "the baseline", rule)]
        if now is None:
            if after.low <= was.high + rule.allowed(was.high):
                return [_saturated(pair, pair.after, "this run", rule, was)]
            now = after  # it wants at least that much
        what, before, after = f"{_RESERVED} without a limit", was, now
    return [rise_gate(pair.workload, "reserved", what, "bytes", rule, before, after)]


def _free(side: Side, reserved: Figure) -> Figure | None:
    """What is reserved where the card is not the limit; None if that is not known."""
    if not side.row.capped:
        return reserved
    found = side.row.uncapped
    return None if found is None else Figure(low=found, high=found)


def _saturated(
    pair: Pair, side: Side, whose: str, rule: Rise, before: Figure | None = None
) -> GateResult:
    uncapped = side.ledger.uncapped
    message = f" ({uncapped.message})" if uncapped and uncapped.message else ""
    return not_measured(
        pair.workload,
        "reserved",
        f"{_RESERVED} of {whose} is that of the limit, and what it would be without one is not "
        f"known{message}",
        gate=rule.gate,
        unit="bytes",
        before=before,
    )


def _unread(
    pair: Pair,
    metric: Metric,
    what: str,
    field: str,
    rule: Rise,
    before: Figure | None,
    after: Figure | None,
) -> GateResult:
    side, where = pair.after, ""
    if before is None:
        side, where = pair.before, " in the baseline" if after else " in the baseline or now"
    why = side.unread(field)
    return not_measured(
        pair.workload,
        metric,
        f"{what} was not read{where}{f', {why}' if why else ''}",
        gate=rule.gate,
        unit="bytes",
        before=before,
        after=after,
    )
