"""Claims judged on the trials of one record, in numbers and in words.

A claim names its rows, and a row which failed, or that does not learn, is not ranked. Memory is
exact where peaks repeat to the byte; where they do not, the disagreement is the finding. Two rows
count as the same inside a zone of max(2 MiB, 1 %) of the baseline. Rows so small that 2 MiB are a
good part of them cannot be distinguished by it, and are not said to be the same. Throughput is
judged by ratios of trials paired by round, against the zone of equivalence.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffprof.analysis.speeds import Speeds
from ffprof.analysis.statistics.intervals import ZONE, RatioInterval
from ffprof.analysis.statistics.looks import LOOKS
from ffprof.analysis.summary import Row, Spread, summarise
from ffprof.records.audit import Evidence, Finding, Record, SecondOpinion, Verdict
from ffprof.records.recipe import FAMILY, Claim
from ffprof.units import MIB, format_bytes, format_ratio


def no_verdict(claim: Claim, baseline: str, reason: str) -> Verdict:
    """A claim that cannot be judged."""
    return Verdict(
        claim=claim.id,
        challenger=claim.challenger,
        baseline=baseline,
        metric=claim.metric,
        finding="not comparable",
        supported=None,
        sentence=f"{claim.challenger} against {baseline}: no verdict on {claim.metric}, {reason}",
    )


def against(claim: Claim) -> str:
    """What the baseline is, where it is the best of a family."""
    if not claim.baseline.startswith(FAMILY):
        return ""
    best = "smallest" if claim.metric == "memory" else "fastest"
    return f" (the {best} row of family {claim.baseline.removeprefix(FAMILY)} here)"


def word(supported: bool | None) -> str:
    """What happened to a claim."""
    return {True: "supported", False: "not supported", None: "undecided"}[supported]


ZONE_BYTES = 2 * MIB
ZONE_SHARE = 0.01
# Of estimates: kernels of libraries take workspace that only a model knows (docs/estimator.md).
ESTIMATED_ZONE = 0.05
# A zone that is a larger part of the baseline than this tells nothing of rows inside it.
LARGEST_ZONE = 0.05


def memory_verdict(
    claim: Claim, challenger: Row, baseline: Row, speed: RatioInterval | None
) -> Verdict:
    """On the peaks of all rounds; ``speed`` is reported next to them."""
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
        text += f", {format_ratio(challenger.reserved.median / baseline.reserved.median)} reserved"
        text += "," if speed is not None else ""
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


def judge(record: Record) -> tuple[Verdict, ...]:
    """Verdicts, in order, on the recipe's claims both sides of which are part of the audit."""
    rows = {row.workload: row for row in summarise(record)}
    chosen = [c for c in record.recipe.claims if c.challenger in rows and _has_baseline(rows, c)]
    speeds = Speeds(record, tuple(rows.values()), sum(_ratios_in(rows, c) for c in chosen))
    verdicts = tuple(_judge(record, rows, claim, speeds) for claim in chosen)
    if record.evidence != "estimated":
        return verdicts
    # What was not measured says so in the sentence, which will be quoted alone.
    return tuple(v.model_copy(update={"sentence": f"estimated: {v.sentence}"}) for v in verdicts)


def _ratios_in(rows: dict[str, Row], claim: Claim) -> int:
    """How many ratios of speeds could make this claim wrong.

    The best row of a family is chosen by its speed, so each of them counts.
    """
    if claim.metric != "throughput":
        return 0
    return len(_members(rows, claim)) if claim.baseline.startswith(FAMILY) else 1


def _judge(record: Record, rows: dict[str, Row], claim: Claim, speeds: Speeds) -> Verdict:
    challenger = rows[claim.challenger]
    baseline, objection = _baseline(rows, claim)
    if baseline is None:
        return no_verdict(claim, claim.baseline, objection)
    if challenger.marks:
        reason = f"{challenger.workload} cannot win: {challenger.marks[0]}"
        return no_verdict(claim, baseline.workload, reason)
    if baseline.marks:
        reason = f"{baseline.workload} is no baseline: {baseline.marks[0]}"
        return no_verdict(claim, baseline.workload, reason)
    for row in (challenger, baseline):
        if row.fit == "too close to call" and challenger.settled != baseline.settled:
            reason = f"whether {row.workload} fits is too close to call"
            return no_verdict(claim, baseline.workload, reason)
    outcomes = (challenger.settled, baseline.settled)
    if outcomes == ("ok", "oom"):
        return _fits(claim, baseline, f"{challenger.workload} fits where {baseline.workload}", True)
    if outcomes == ("oom", "ok"):
        return _fits(
            claim, baseline, f"{baseline.workload} fits where {challenger.workload}", False
        )
    for row in (challenger, baseline):
        if row.settled != "ok":
            reason = f"{row.workload} is not ok in every round: {row.told_outcomes()}"
            return no_verdict(claim, baseline.workload, reason)
    if claim.metric == "memory":
        return memory_verdict(claim, challenger, baseline, speeds.ratio(challenger, baseline))
    if record.machine.null_device:
        return no_verdict(claim, baseline.workload, "a null device has no speeds")
    return throughput_verdict(claim, challenger, baseline, speeds, record.evidence)


def _members(rows: dict[str, Row], claim: Claim) -> list[Row]:
    family = claim.baseline.removeprefix(FAMILY)
    return [r for r in rows.values() if r.family == family and r.workload != claim.challenger]


def _has_baseline(rows: dict[str, Row], claim: Claim) -> bool:
    if claim.baseline.startswith(FAMILY):
        return bool(_members(rows, claim))
    return claim.baseline in rows


def _baseline(rows: dict[str, Row], claim: Claim) -> tuple[Row | None, str]:
    """The row to compare with, or why there is none.

    The best row of a family is known only when every planned member was measured or does not
    fit; members that do not learn are passed over. A family does not fit only if no member does.
    """
    if not claim.baseline.startswith(FAMILY):
        return rows[claim.baseline], ""
    members = _members(rows, claim)
    if all(row.settled == "oom" for row in members):
        return members[0], ""
    unknown = [row for row in members if row.settled not in ("ok", "oom")]
    fitting = [row for row in members if row.usable]
    if unknown or not fitting:
        told = ", ".join(f"{row.workload} {row.told_outcomes()}" for row in unknown or members)
        return None, f"the best row of the family is not known ({told})"
    if claim.metric == "memory":
        return min(fitting, key=lambda row: row.memory.median if row.memory else 0), ""
    return max(fitting, key=lambda row: row.throughput.median if row.throughput else 0), ""


def _fits(claim: Claim, baseline: Row, start: str, challenger_fits: bool) -> Verdict:
    return Verdict(
        claim=claim.id,
        challenger=claim.challenger,
        baseline=baseline.workload,
        metric=claim.metric,
        finding="fits" if challenger_fits else "does not fit",
        supported=challenger_fits,
        sentence=f"{start} does not: the {claim.metric} claim is {word(challenger_fits)}",
    )


def count_supported(verdicts: Sequence[Verdict]) -> tuple[int, int, int]:
    """How many claims are supported, not supported, and undecided."""
    values = [verdict.supported for verdict in verdicts]
    return values.count(True), values.count(False), values.count(None)


def undecided(record: Record) -> bool:
    """Whether more rounds may still decide a claim on throughput."""
    return any(v.metric == "throughput" and v.finding == "inconclusive" for v in record.verdicts)
