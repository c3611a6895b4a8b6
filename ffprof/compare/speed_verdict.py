"""Claims on throughput: ratios of trials paired by round, against the zone of equivalence."""

from __future__ import annotations

from ffprof.compare.statistics import MIN_ROUNDS, ZONE, RatioInterval, paired_ratio
from ffprof.compare.summary import Row, rate
from ffprof.compare.wording import against, no_verdict, word
from ffprof.recipe import Claim
from ffprof.record import Evidence, Finding, Record, Verdict
from ffprof.units import format_ratio


def speed_ratio(record: Record, challenger: Row, baseline: Row) -> RatioInterval | None:
    """The ratio of speeds over the rounds that have both; None without any."""
    rates = {
        name: {
            t.round: rate(t)
            for t in record.trials
            if t.workload == name and t.outcome == "ok" and t.throughput
        }
        for name in (challenger.workload, baseline.workload)
    }
    theirs, ours = rates[baseline.workload], rates[challenger.workload]
    common = sorted(theirs.keys() & ours.keys())
    if not common:
        return None
    return paired_ratio([ours[r] for r in common], [theirs[r] for r in common])


def throughput_verdict(
    claim: Claim,
    challenger: Row,
    baseline: Row,
    speed: RatioInterval | None,
    evidence: Evidence,
) -> Verdict:
    """Held against the zone; a row with a trial that was disturbed to the end decides nothing."""
    if speed is None:
        return no_verdict(claim, baseline.workload, "no round has the speed of both rows")
    head = (
        f"{challenger.workload} runs at {format_ratio(speed.ratio)} the throughput of "
        f"{baseline.workload}{against(claim)}"
    )
    finding, supported, tail = _speed_finding(speed)
    if disturbed := [row for row in (challenger, baseline) if row.disturbed]:
        finding, supported = "ratio only", None
        tail = f": no verdict, because {disturbed[0].workload} was disturbed (see Problems)"
    if evidence == "estimated":
        tail = ": an estimate gives no verdict on throughput"
    return Verdict(
        claim=claim.id,
        challenger=claim.challenger,
        baseline=baseline.workload,
        metric="throughput",
        ratio=speed.ratio,
        interval=None if speed.low is None or speed.high is None else (speed.low, speed.high),
        finding=finding,
        supported=supported,
        sentence=f"{head}{tail}",
    )


def _speed_finding(speed: RatioInterval) -> tuple[Finding, bool | None, str]:
    if speed.low is None or speed.high is None:
        tail = f": no verdict below {MIN_ROUNDS} rounds (use --rounds {MIN_ROUNDS} or more)"
        return "ratio only", None, tail
    low, high = 1 - ZONE, 1 / (1 - ZONE)
    interval = f" (95 % interval {speed.low:.3f} to {speed.high:.3f})"
    finding: Finding = "inconclusive"
    if speed.low > high:
        finding = "faster"
    elif speed.high < low:
        finding = "slower"
    elif speed.low >= low:
        # The claim is "at least as fast", so it needs only the lower end.
        finding = "same" if speed.high <= high else "not slower"
    supported = None if finding == "inconclusive" else finding != "slower"
    return finding, supported, f"{interval}: the throughput claim is {word(supported)}"
