"""Does a figure of a workload that should repeat rise by more than it may?

A figure is a range over rounds. Where both ranges are one value, as peaks should be, the answer
is exact. Where rounds disagree it is given only if it is the same for every pair of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ffprof.analysis.gates.result import GateResult, Metric, Status, Unit
from ffprof.analysis.gates.thresholds import Rise, WorkloadThresholds
from ffprof.analysis.summary import Row, Spread
from ffprof.records.audit import LedgerRow, Record, Trial
from ffprof.units import GIB, KIB, MIB, format_bytes

_SMALL = 10 * 1024  # sizes below are reported to the byte
_PREFIXES = ((15, "P"), (12, "T"), (9, "G"), (6, "M"))
_SCALES: dict[str, int] = {"KiB": KIB, "MiB": MIB, "GiB": GIB} | {
    name: 10**power for power, name in _PREFIXES
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The least and the most that rounds gave."""

    low: int
    high: int

    @classmethod
    def of(cls, spread: Spread | None) -> Figure | None:
        """From a summary; None of nothing."""
        return None if spread is None else cls(low=int(spread.low), high=int(spread.high))

    @classmethod
    def over(cls, values: Iterable[int | None]) -> Figure | None:
        """Of values that are all known; None if one is not, or there is none."""
        known = list(values)
        found = [value for value in known if value is not None]
        if not found or len(found) < len(known):
            return None
        return cls(low=min(found), high=max(found))

    @property
    def repeats(self) -> bool:
        """Whether all rounds gave the same."""
        return self.low == self.high

    def told(self, unit: Unit, *, exact: bool = False) -> str:
        """In words, with the range where there is one; ``exact`` with all digits."""
        if self.repeats:
            return told(self.high, unit, exact=exact)
        if unit == "bytes":
            return f"{self.low:,} to {self.high:,} B"
        return f"{told(self.low, unit)} to {told(self.high, unit)}"


def rise_gate(
    workload: str,
    metric: Metric,
    what: str,
    unit: Unit,
    rule: Rise,
    before: Figure,
    after: Figure,
    detail: Callable[[], str] | None = None,
) -> GateResult:
    """One gate. ``what`` names the figure in a sentence; ``detail`` adds to it if it rose."""
    limit_low, limit_high = (value + rule.allowed(value) for value in (before.low, before.high))
    status: Status = "inconclusive"
    if after.low > limit_high:
        status = "regressed"
    elif after.high < before.low - rule.allowed(before.low):
        status = "improved"
    elif after.high <= limit_low:
        status = "passed"
    sentence = _sentence(workload, what, unit, rule, before, after, status)
    if detail is not None and status in ("regressed", "inconclusive"):
        sentence += detail()
    if not rule.gate:
        status, sentence = "advice", f"{sentence} (not gated: gate = false)"
    return GateResult(
        workload=workload,
        metric=metric,
        status=status,
        sentence=sentence,
        unit=unit,
        baseline=before.high,
        current=after.high,
        limit=limit_low,
    )


def _sentence(
    workload: str,
    what: str,
    unit: Unit,
    rule: Rise,
    before: Figure,
    after: Figure,
    status: Status,
) -> str:
    head = f"{workload}: {what}"
    tie = are_tied((before.high, after.high), unit)
    numbers = f"from {before.told(unit, exact=tie)} to {after.told(unit, exact=tie)}"
    more, most = after.high - before.high, rule.allowed(before.low)
    tie = are_tied((abs(more), most), unit)
    allowed = f"at most +{told(most, unit, exact=tie)} is allowed"
    if not (before.repeats and after.repeats):
        whose = " and ".join(
            when for when, one in (("the baseline", before), ("this run", after)) if not one.repeats
        )
        return (
            f"{head} went {numbers}; rounds of {whose} disagree, though it should repeat; {allowed}"
        )
    if more == 0:
        return f"{head} is still {after.told(unit)}"
    moved, sign = ("rose", "+") if more > 0 else ("fell", "-")
    percent = f", {more / before.high:+.1%}" if before.high else ""
    tail = f"; {allowed}" if status == "regressed" else ""
    return f"{head} {moved} {numbers} ({sign}{told(abs(more), unit, exact=tie)}{percent}){tail}"


def told(value: int | float, unit: Unit, *, exact: bool = False) -> str:
    """A figure with its unit, for people; ``exact`` does not round what is counted."""
    if unit == "bytes":
        return f"{value:,} B" if exact or abs(value) < _SMALL else format_bytes(int(value))
    if unit == "FLOPs":
        return f"{value:,} FLOPs" if exact else f"{_scaled(int(value))}FLOPs"
    if unit == "operators":
        return f"{value:,}"
    if unit == "ratio":
        return f"{value:.6f}x" if exact else f"{value:.3f}x"
    return str(value)


def are_tied(values: Iterable[int | float | None], unit: Unit) -> bool:
    """Whether rounding hides that two of the values differ."""
    known = {value for value in values if value is not None}
    return len({_worth(told(value, unit)) for value in known}) < len(known)


def _worth(text: str) -> float:
    """The number that a reader takes from a figure that was reported: 100 MiB are 100.0 MiB."""
    number, _, unit = text.removesuffix("FLOPs").removesuffix("x").partition(" ")
    return round(float(number.replace(",", "")) * _SCALES.get(unit.strip(), 1), 6)


def _scaled(value: int) -> str:
    """``1.234 G``, with four digits, so that a change of a part in a thousand is seen."""
    for power, prefix in _PREFIXES:
        if value >= 10**power:
            return f"{value / 10**power:.4g} {prefix}"
    return f"{value:,} "


@dataclass(frozen=True, kw_only=True)
class Side:
    """One workload in one record."""

    record: Record
    row: Row

    @property
    def ledger(self) -> LedgerRow:
        """What the harness found it to be; empty if it was not looked at."""
        return self.record.ledger.get(self.row.workload, LedgerRow())

    def figure(self, value: Callable[[Trial], int | None]) -> Figure | None:
        """A figure over all trials that have figures."""
        return Figure.over(
            value(trial)
            for trial in self.record.trials
            if trial.workload == self.row.workload and (trial.outcome == "ok" or trial.memory.fit)
        )

    def unread(self, field: str) -> str:
        """Why a figure of memory could not be read; empty if nothing says so."""
        told = (
            trial.memory.unread.get(field)
            for trial in self.record.trials
            if trial.workload == self.row.workload
        )
        return next((text for text in told if text), "")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One workload before and after, both with figures, and its thresholds."""

    before: Side
    after: Side
    rules: WorkloadThresholds

    @property
    def workload(self) -> str:
        """Its id."""
        return self.after.row.workload


def not_measured(
    workload: str,
    metric: Metric,
    why: str,
    *,
    gate: bool = True,
    unit: Unit = "",
    before: Figure | None = None,
    after: Figure | None = None,
) -> GateResult:
    """A gate that has nothing to judge: it neither passed nor regressed."""
    was = f" (it was {told(before.high, unit)})" if before else ""
    if after:
        was = f" (it is {told(after.high, unit)})"
    return GateResult(
        workload=workload,
        metric=metric,
        status="not measured" if gate else "advice",
        sentence=f"{workload}: {why}{was}",
        unit=unit,
        baseline=before.high if before else None,
        current=after.high if after else None,
    )
