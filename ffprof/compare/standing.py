"""From a frontier's record to what stands where: standings, the frontiers, and what to run next.

Everything here is a function of the record alone, so a report can be made from the file, and a
frontier is decided in the same way whenever it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

from ffprof.compare.dominance import (
    Candidate,
    Margins,
    best,
    dominated_by,
    dominator,
    frontier,
    promise,
    widened,
)
from ffprof.compare.frontier_cost import everything_seconds
from ffprof.compare.racing import every_point, next_wave, noise
from ffprof.compare.summary import marks_of, memory_of
from ffprof.frontier_record import FrontierRecord, Guess, Point, Standing
from ffprof.trial_record import Trial

# By device: the live peak is forecast to the byte, while what an allocator takes is simulated;
# speeds that are forecast for a processor are rougher.
MARGINS = {"cpu": Margins(memory=0.0, workload=0.40, method=0.50), "cuda": Margins()}
_BAD: tuple[tuple[str, Standing], ...] = (
    ("refused", "refused"), ("crashed", "failed"), ("timeout", "failed"), ("oom", "does not fit"),
)  # fmt: skip


def margins_of(record: FrontierRecord) -> Margins:
    """The margins of the device that it is measured on."""
    return MARGINS["cpu" if record.evidence == "measured (cpu)" else "cuda"]


def candidates(record: FrontierRecord, *, foreseen: bool = True) -> list[Candidate]:
    """The points as far as they are known.

    Those foreseen not to fit, by an estimate or a smaller size, are out if ``foreseen``.
    """
    full = _ran_out(record) if foreseen else {}
    return [
        _candidate(point, record, out=_bad(point) or (foreseen and _crowded(point, full) != ""))
        for point in record.points
    ]


def _candidate(point: Point, record: FrontierRecord, *, out: bool) -> Candidate:
    good = [t for t in point.trials if t.outcome == "ok"]
    guess = point.guess or Guess(outcome="refused")
    memory: int | None = None
    rates: tuple[float, ...] = ()
    if good:
        memory, rates = _memory(good), tuple(_rate(t) for t in good)
    elif record.evidence == "estimated" and _fits(guess) and guess.images_per_second:
        memory, rates = guess.memory_bytes, (guess.images_per_second,)
    return Candidate(
        id=point.id,
        method=point.method,
        series=_series(point),
        size=point.micro_batch,
        guess_memory=guess.memory_bytes,
        guess_rate=guess.images_per_second,
        memory=memory,
        rates=rates,
        out=out,
        wins=not _marks(point, record),
    )


def _fits(guess: Guess) -> bool:
    return guess.outcome == "ok" and guess.fit != "does not fit"


def _series(point: Point) -> str:
    return f"{point.workload}/{point.precision}/{point.memory_format}"


def _outcome(point: Point) -> Standing | None:
    """Why nothing more is run of a point; its worst trial counts."""
    outcomes = {t.outcome for t in point.trials}
    for outcome, standing in _BAD:
        if outcome in outcomes:
            return standing
    if not outcomes and point.standing in ("refused", "failed"):
        return point.standing  # known before anything is run
    return None


def _bad(point: Point) -> bool:
    return _outcome(point) is not None


def _ran_out(record: FrontierRecord) -> dict[str, Point]:
    """The smallest point of every series whose trial ran out of memory."""
    found: dict[str, Point] = {}
    for point in record.points:
        if any(t.outcome == "oom" for t in point.trials):
            other = found.get(_series(point))
            if other is None or point.micro_batch < other.micro_batch:
                found[_series(point)] = point
    return found


def _crowded(point: Point, full: dict[str, Point]) -> str:
    """Why a point without trials is known not to fit, in words; or nothing."""
    if point.trials:
        return ""
    if point.guess is not None and point.guess.fit == "does not fit":
        return point.guess.message or "estimated not to fit"
    smaller = full.get(_series(point))
    if smaller is not None and smaller.micro_batch < point.micro_batch:
        return f"{smaller.id} ran out of memory"
    return ""


def _marks(point: Point, record: FrontierRecord) -> tuple[str, ...]:
    good = [t for t in point.trials if t.outcome == "ok"]
    return marks_of(good, real=record.recipe.data != "synthetic") if good else ()


def _memory(trials: Sequence[Trial]) -> int | None:
    known = [size for t in trials if (size := memory_of(t)) is not None]
    return round(median(known)) if known else None


def _rate(trial: Trial) -> float:
    assert trial.throughput is not None
    return trial.throughput.images_per_second


def wave(record: FrontierRecord, *, every: bool) -> tuple[str, ...]:
    """Ids of the points to be measured once more; with ``every``, whatever is known of them."""
    if record.evidence == "estimated":
        return ()
    if every:
        return every_point(candidates(record, foreseen=False), record.rounds)
    return next_wave(candidates(record), record.rounds, margins_of(record))


def settle(record: FrontierRecord) -> FrontierRecord:
    """The record with the standing of every point, the frontiers, the best, and the cost."""
    found = candidates(record)
    margins = widened(found, margins_of(record))
    on, fastest = frontier(found), set(best(found).values())
    points, full = [], _ran_out(record)
    for point, one in zip(record.points, found, strict=True):
        standing, because = _standing(point, one, found, margins, record, full)
        points.append(
            point.model_copy(
                update={
                    "standing": standing,
                    "because": because[:4000],
                    "memory_bytes": _shown_memory(point, one),
                    "images_per_second": _shown_rate(point, one, found, margins),
                    "on_frontier": one.id in on,
                    "best": one.id in fastest,
                }
            )
        )
    spent, everything = everything_seconds(record, found, margins)
    return record.model_copy(
        update={
            "points": tuple(points),
            "margins": {**asdict(margins), "noise": noise(found, margins)},
            "spent_seconds": spent,
            "all_seconds": everything,
        }
    )


def _shown_memory(point: Point, one: Candidate) -> int | None:
    if one.memory is not None:
        return round(one.memory)
    return point.guess.memory_bytes if point.guess else None


def _shown_rate(
    point: Point, one: Candidate, found: list[Candidate], margins: Margins
) -> float | None:
    if one.rate is not None:
        return one.rate
    promised = promise(one, found, margins) if point.guess and _fits(point.guess) else None
    return promised.likely if promised else None


def _standing(
    point: Point,
    one: Candidate,
    found: list[Candidate],
    margins: Margins,
    record: FrontierRecord,
    full: dict[str, Point],
) -> tuple[Standing, str]:
    bad = _outcome(point)
    if bad is not None:
        told = next((t.message for t in reversed(point.trials) if t.outcome != "ok"), "")
        return bad, told or point.because
    crowded = _crowded(point, full)
    if crowded:
        return "does not fit", crowded
    if record.evidence == "estimated" and one.rates:
        other = dominator(one, found)
        return ("dominated", other.id) if other else ("estimated", "")
    if record.evidence == "estimated":
        return "estimated", point.guess.message if point.guess else ""
    if one.rates:
        marks = "; ".join(_marks(point, record))
        other = dominator(one, found) if one.wins and one.memory is not None else None
        return ("dominated", other.id) if other else ("measured", marks)
    left_out = dominated_by(one, found, margins)
    if left_out is not None:
        return "dominated", left_out
    return "not run", record.stopped
