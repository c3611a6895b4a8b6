"""Claims on memory: exact where peaks repeat to the byte, and the disagreement where they don't.

Two rows count as the same inside a zone of max(2 MiB, 1 %) of the baseline. Rows so small that
2 MiB are a good part of them cannot be told apart by it, and are not said to be the same.
"""

from __future__ import annotations

from ffprof.compare.statistics import RatioInterval
from ffprof.compare.summary import Row, Spread
from ffprof.compare.wording import against, no_verdict, word
from ffprof.records.audit import Finding, Verdict
from ffprof.records.recipe import Claim
from ffprof.units import MIB, format_bytes, format_ratio

ZONE_BYTES = 2 * MIB
ZONE_SHARE = 0.01
# Of estimates: kernels of libraries take workspace that only a model knows (docs/estimator.md).
ESTIMATED_ZONE = 0.05
# A zone that is a larger part of the baseline than this tells nothing of rows inside it.
LARGEST_ZONE = 0.05


def memory_verdict(
    claim: Claim, challenger: Row, baseline: Row, speed: RatioInterval | None
) -> Verdict:
    """On the peaks of all rounds; ``speed`` is told beside them."""
    ours, theirs = challenger.memory, baseline.memory
    if ours is None or theirs is None or not theirs.low:
        return no_verdict(claim, baseline.workload, "a peak could not be read")
    part = ZONE_SHARE if baseline.fit is None else ESTIMATED_ZONE
    zone = max(ZONE_BYTES, part * theirs.high)
    ratio = ours.median / theirs.median
    finding = memory_finding(ours, theirs, zone)
    wide = zone > max(LARGEST_ZONE, part) * theirs.high
    if finding == "same" and wide:
        finding = "inconclusive"
    supported = {"lower": True, "higher": False, "same": False}.get(finding)
    text = (
        f"{challenger.workload} takes {format_ratio(ratio)} the memory of {baseline.workload}"
        f"{against(claim)}"
    )
    if challenger.reserved and baseline.reserved and baseline.reserved.median:
        text += f", {format_ratio(challenger.reserved.median / baseline.reserved.median)} reserved,"
    if speed is not None:
        text += f" at {format_ratio(speed.ratio)} its throughput"
    reasons = []
    if finding == "same":
        reasons.append(f"the difference is inside {zone / MIB:.1f} MiB")
    elif finding == "inconclusive":
        reasons.append(f"rows this small cannot be told apart within {zone / MIB:.1f} MiB")
    reasons += [told for row in (challenger, baseline) if (told := disagreement(row))]
    reason = f" ({'; '.join(reasons)})" if reasons else ""
    return Verdict(
        claim=claim.id,
        challenger=claim.challenger,
        baseline=baseline.workload,
        metric="memory",
        ratio=ratio,
        finding=finding,
        supported=supported,
        sentence=f"{text}: the memory claim is {word(supported)}{reason}",
    )


def memory_finding(ours: Spread, theirs: Spread, zone: float) -> Finding:
    """What holds for every pair of rounds; where peaks repeat, all pairs are one.

    If pairs say different things, that they do is the finding.
    """
    if ours.high < theirs.low - zone:
        return "lower"
    if ours.low > theirs.high + zone:
        return "higher"
    if ours.high <= theirs.low + zone and ours.low >= theirs.high - zone:
        return "same"
    return "does not repeat"


def disagreement(row: Row) -> str:
    """By how much a row's peaks differ between rounds, in words; empty if they repeat."""
    if row.memory is None or row.memory.low == row.memory.high:
        return ""
    apart = row.memory.high - row.memory.low
    return f"peaks of {row.workload} do not repeat: they differ by {format_bytes(int(apart))}"
