"""Claims on throughput: ratios of trials paired by round, against the zone of equivalence."""

from __future__ import annotations

from ffprof.compare.looks import LOOKS
from ffprof.compare.speeds import Speeds
from ffprof.compare.statistics import ZONE, RatioInterval
from ffprof.compare.summary import Row
from ffprof.compare.wording import against, no_verdict, word
from ffprof.records.audit import Evidence, Finding, SecondOpinion, Verdict
from ffprof.records.recipe import Claim
from ffprof.units import format_ratio


def throughput_verdict(
    claim: Claim, challenger: Row, baseline: Row, speeds: Speeds, evidence: Evidence
) -> Verdict:
    """Held against the zone; a row with a trial that was disturbed to the end decides nothing."""
    speed = speeds.ratio(challenger, baseline)
    if speed is None:
        return no_verdict(claim, baseline.workload, "no round has the speed of both rows")
    second = speeds.second_opinion(challenger, baseline)
    head = (
        f"{challenger.workload} runs at {format_ratio(speed.ratio)} the throughput of "
        f"{baseline.workload}{against(claim)}"
    )
    finding, supported = _finding(speed), None
    if disturbed := [row for row in (challenger, baseline) if row.disturbed]:
        finding = "ratio only"
        tail = f": no verdict, because {disturbed[0].workload} was disturbed (see Problems)"
    elif speed.low is None or speed.high is None:
        tail = f": no verdict below {LOOKS[0]} rounds (use --rounds {LOOKS[0]} or more)"
    else:
        supported = None if finding == "inconclusive" else finding != "slower"
        tail = (
            f" ({_interval(speed, second)}): the throughput claim is {word(supported)}"
            f"{_more(speeds, challenger, baseline) if supported is None else ''}"
        )
    if evidence == "estimated":
        tail = ": an estimate gives no verdict on throughput"
    return Verdict(
        claim=claim.id,
        challenger=claim.challenger,
        baseline=baseline.workload,
        metric="throughput",
        ratio=speed.ratio,
        interval=None if speed.low is None or speed.high is None else (speed.low, speed.high),
        rounds=speed.pairs,
        second_opinion=second,
        finding=finding,
        supported=supported,
        sentence=f"{head}{tail}",
    )


def place(low: float, high: float) -> Finding:
    """Where an interval of a ratio of speeds lies to the zone of equivalence."""
    bottom, top = 1 - ZONE, 1 / (1 - ZONE)
    if low > top:
        return "faster"
    if high < bottom:
        return "slower"
    if low >= bottom:
        return "same" if high <= top else "not slower"
    return "inconclusive"


def _finding(speed: RatioInterval) -> Finding:
    """The claim is "at least as fast", so it needs only the lower end."""
    if speed.low is None or speed.high is None:
        return "ratio only"
    return place(speed.low, speed.high)


def _interval(speed: RatioInterval, second: SecondOpinion | None) -> str:
    told = f"{speed.low:.3f} to {speed.high:.3f}, {speed.pairs} rounds"
    if second is None:
        return told
    low, high = second.bootstrap
    flips = "" if speed.pairs < LOOKS[1] else f", p {_probability(second.sign_flip)}"
    return f"{told}; second opinion {low:.3f} to {high:.3f}{flips}"


def _probability(value: float) -> str:
    return "under 0.0001" if value < 1e-4 else f"{value:.2g}"


def _more(speeds: Speeds, challenger: Row, baseline: Row) -> str:
    """What the next look would see through this noise."""
    rounds, share = speeds.next_look(challenger, baseline)
    return f" ({rounds} rounds would tell a difference of {share:.0%})"
