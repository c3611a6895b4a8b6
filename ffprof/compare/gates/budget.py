"""The gate on an absolute budget: does a workload take more than it may, whatever it took before?

The figure is the process's peak where NVML gives it, else the larger of the reserved peaks, cold
or steady, with what context and libraries take; of an estimate its range; on a processor the peak
of live tensors.
"""

from __future__ import annotations

from ffprof.compare.gates.gate import GateResult, Status
from ffprof.compare.gates.pair import Side, not_measured
from ffprof.compare.gates.rise import Figure, are_tied, told
from ffprof.records.audit import Trial


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
    reserved = side.figure(_reserved)
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


def _reserved(trial: Trial) -> int | None:
    steady, cold = trial.memory.reserved_peak_bytes, trial.memory.cold_reserved_peak_bytes
    return None if steady is None else max(steady, cold or 0)


def _whole(side: Side, trial: Trial) -> int | None:
    reserved, debit = _reserved(trial), trial.debit
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
        sentence=f"{workload}: {what} {found.told('bytes', exact=exact)} of the {limit} that it "
        f"may: {tail}",
        unit="bytes",
        current=found.high,
        limit=budget,
    )
