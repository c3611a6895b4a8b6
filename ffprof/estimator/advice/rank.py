"""What was tried as lines of advice, the best first.

Of a step that does not fit, the changes that make it fit come first, the fastest of them at the
top, and those that train otherwise behind those that do not. All others follow by the bytes that
they save, as do all where the step fits anyway.
"""

from __future__ import annotations

from ffprof.estimator.advice.search import Found, Tried
from ffprof.records.estimate import Advice, AdviceLine
from ffprof.records.redaction import recorded


def ranked(found: Found, *, workload: str, card: str | None, budget_bytes: int) -> Advice:
    """The lines of advice for one step."""
    advice = Advice(
        workload=workload,
        card=card,
        budget_bytes=budget_bytes,
        base=_line(found.base),
        lines=tuple(map(_line, (*found.singles, *found.together))),
    )
    order = sorted(advice.lines, key=lambda line: _rank(advice, line))
    return advice.model_copy(update={"lines": tuple(order)})


def _rank(advice: Advice, line: AdviceLine) -> tuple[bool, bool, bool, float]:
    makes_it_fit = line.fit == "fits" and not advice.fits
    saves = advice.saved_bytes(line)
    slower = advice.slower(line)
    worth = float(-saves) if not makes_it_fit or slower is None else slower
    last = line.effect == "method" or not line.sure
    return bool(line.failed), not makes_it_fit, last, worth


def _line(tried: Tried) -> AdviceLine:
    changes = tried.changes
    figures = {} if tried.failed else {
        "allocated_peak_bytes": tried.allocated_bytes,
        "reserved_peak_bytes": tried.reserved_bytes,
        "cold_reserved_peak_bytes": tried.cold_reserved_bytes,
        "fit": tried.fit.answer if tried.fit else None,
        "step_seconds": tried.seconds,
    }  # fmt: skip
    return AdviceLine(
        ids=tuple(change.id for change in changes),
        title=recorded(", ".join(change.title for change in changes) or "as it is", 1000),
        effect=tried.effect,
        code=recorded("\n".join(change.code for change in changes), 4000),
        note="; ".join(change.note for change in changes if change.note),
        sure=all(change.sure for change in changes),
        failed=recorded(tried.failed, 1000),
        **figures,
    )
