"""Words that verdicts on memory and on throughput share."""

from __future__ import annotations

from ffprof.records.audit import Verdict
from ffprof.records.recipe import FAMILY, Claim


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
    """What became of a claim."""
    return {True: "supported", False: "not supported", None: "undecided"}[supported]
