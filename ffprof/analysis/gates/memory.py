"""Gates on memory: does a workload take more than it did, or more than it may?

On a GPU the allocated and the reserved peak of the steady phase, measured or estimated; on a
processor the peak of live tensors. The cold reserved peak has no gate of its own: autotuning
decides it, which follows the version of cuDNN and not what is being checked. It counts where it
decides, against the budget.

Against an absolute budget, the figure is the process's peak where NVML gives it, else the larger of
the reserved peaks, cold or steady, with what context and libraries take; of an estimate its range;
on a processor the peak of live tensors.
"""

from __future__ import annotations

from ffprof.analysis.gates.figure import Figure, Pair, Side, are_tied, not_measured, rise_gate, told
from ffprof.analysis.gates.result import GateResult, Metric, Status
from ffprof.analysis.gates.thresholds import Rise
from ffprof.analysis.summary import MEMORY_FIELD
from ffprof.records.audit import Trial

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


def budget_gate(side: Side, budget: int) -> GateResult:
    """Held against ``budget`` bytes; what must be said of the figure is in the sentence."""
    workload = side.row.workload
    if side.record.evidence == "estimated":
        estimated = side.row.process_range
        if estimated is None:
            return not_measured(workload, "budget", "what the process takes is not estimated")
        found = Figure(low=min(estimated), high=max(estimated))
        return _held(workload, "the process is estimated to take", found, budget, close=True)
    if side.row.device == "cpu":
        live = side.figure(lambda trial: trial.memory.live_tensor_peak_bytes)
        if live is None:
            return not_measured(workload, "budget", "the peak of live tensors was not read")
        return _held(workload, "live tensors take", live, budget)
    process = side.figure(lambda trial: trial.memory.process_peak_bytes)
    if process is not None:
        return _held(workload, "the process takes", process, budget)
    return _from_reserved(side, budget)


def _from_reserved(side: Side, budget: int) -> GateResult:
    workload = side.row.workload
    reserved = side.figure(_reserved_peak)
    if reserved is None:
        return not_measured(workload, "budget", "neither the process nor what is reserved was read")
    whole = side.figure(lambda trial: _whole(side, trial))
    if whole is not None:
        return _held(workload, "what is reserved, with context and libraries, takes", whole, budget)
    if reserved.low > budget:
        return _held(workload, "what is reserved alone takes", reserved, budget)
    return not_measured(
        workload,
        "budget",
        f"{told(reserved.high, 'bytes')} are reserved, but what context and libraries take is not "
        "known",
    )


def _reserved_peak(trial: Trial) -> int | None:
    steady, cold = trial.memory.reserved_peak_bytes, trial.memory.cold_reserved_peak_bytes
    return None if steady is None else max(steady, cold or 0)


def _whole(side: Side, trial: Trial) -> int | None:
    reserved, debit = _reserved_peak(trial), trial.debit
    beside = side.record.budget.debit_bytes
    if debit is not None:
        known = (debit.context_bytes, debit.step_bytes, debit.end_bytes, debit.counted_bytes)
        beside = max(value for value in known if value is not None)
    return None if reserved is None or beside is None else reserved + beside


def _held(
    workload: str, what: str, found: Figure, budget: int, *, close: bool = False
) -> GateResult:
    status: Status = "inconclusive"
    tail = "too close to call" if close else "rounds disagree whether that is more"
    if found.low > budget:
        status, tail = "regressed", "that is more"
    elif found.high <= budget:
        status, tail = "passed", "that fits"
    exact = are_tied((found.low, found.high, budget), "bytes")
    limit = told(budget, "bytes", exact=exact)
    return GateResult(
        workload=workload,
        metric="budget",
        status=status,
        sentence=f"{workload}: {what} {found.told('bytes', exact=exact)} of the {limit} allowed: "
        f"{tail}",
        unit="bytes",
        current=found.high,
        limit=budget,
    )
