"""Claims judged on the trials of one record, in numbers and in words.

Memory and throughput have rules of their own (``memory_verdict``, ``speed_verdict``). Here is what
they share: which row a claim is about, and that a row which failed, or that does not learn, wins
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffprof.compare.memory_verdict import memory_verdict
from ffprof.compare.speed_verdict import throughput_verdict
from ffprof.compare.speeds import Speeds
from ffprof.compare.summary import Row, summarise
from ffprof.compare.wording import no_verdict, word
from ffprof.records.audit import Record, Verdict
from ffprof.records.recipe import FAMILY, Claim


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
