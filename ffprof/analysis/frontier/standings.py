"""From a frontier's record to what stands where: standings, the frontiers, and what to run next.

Everything here is a function of the record alone, so a report can be made from the file, and a
frontier is decided in the same way whenever it is looked at.
"""

from __future__ import annotations

from dataclasses import asdict

from ffprof.analysis.frontier.cost import everything_seconds
from ffprof.analysis.frontier.pareto import (
    Candidate,
    Margins,
    best,
    dominated_by,
    dominator,
    frontier,
    promise,
    widened,
)
from ffprof.analysis.frontier.points import (
    crowded,
    disturbed,
    failure_of,
    guess_fits,
    marks,
    measured_memory,
    measured_rates,
    ran_out,
    series_of,
    too_close,
)
from ffprof.analysis.frontier.racing import every_point, next_wave, noise
from ffprof.records.frontier import FrontierRecord, Guess, Point, Standing

# By device: the live peak is forecast to the byte, while what an allocator takes is simulated;
# speeds that are forecast for a processor are rougher.
MARGINS = {"cpu": Margins(memory=0.0, workload=0.40, method=0.50), "cuda": Margins()}


def margins_of(record: FrontierRecord) -> Margins:
    """The margins of the device that it is measured on."""
    return MARGINS["cpu" if record.evidence == "measured (cpu)" else "cuda"]


def candidates(record: FrontierRecord, *, foreseen: bool = True) -> list[Candidate]:
    """The points as far as they are known.

    Those foreseen not to fit, by an estimate or a smaller size, are out if ``foreseen``.
    """
    full = ran_out(record.points) if foreseen else {}
    return [
        _candidate(
            point,
            record,
            out=failure_of(point) is not None or (foreseen and crowded(point, full) != ""),
        )
        for point in record.points
    ]


def _candidate(point: Point, record: FrontierRecord, *, out: bool) -> Candidate:
    guess = point.guess or Guess(outcome="refused")
    memory, rates = measured_memory(point), measured_rates(point)
    if (
        not rates
        and record.evidence == "estimated"
        and guess_fits(guess)
        and guess.images_per_second
    ):
        memory, rates = guess.memory_bytes, (guess.images_per_second,)
    return Candidate(
        id=point.id,
        method=point.method,
        series=series_of(point),
        size=point.micro_batch,
        guess_memory=guess.memory_bytes,
        guess_rate=guess.images_per_second,
        memory=memory,
        rates=rates,
        out=out,
        wins=not _marks(point, record),
        doubtful=bool(disturbed(point)) or too_close(point),
    )


def _marks(point: Point, record: FrontierRecord) -> tuple[str, ...]:
    return marks(point, real=record.recipe.data != "synthetic")


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
    on, fastest = frontier(found), set(best(p for p in found if not p.doubtful).values())
    points, full = [], ran_out(record.points)
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
    promised = promise(one, found, margins) if point.guess and guess_fits(point.guess) else None
    return promised.likely if promised else None


def _standing(
    point: Point,
    one: Candidate,
    found: list[Candidate],
    margins: Margins,
    record: FrontierRecord,
    full: dict[str, Point],
) -> tuple[Standing, str]:
    bad = failure_of(point)
    if bad is not None:
        return bad
    why = crowded(point, full)
    if why:
        return "does not fit", why
    if record.evidence == "estimated" and one.rates:
        other = dominator(one, found)
        return ("dominated", other.id) if other else ("estimated", "")
    if record.evidence == "estimated":
        return "estimated", point.guess.message if point.guess else ""
    if one.rates:
        why = "; ".join(_marks(point, record))
        other = dominator(one, found) if one.wins and one.memory is not None else None
        return ("dominated", other.id) if other else ("measured", why)
    left_out = dominated_by(one, found, margins)
    if left_out is not None:
        return "dominated", left_out
    return "not run", record.stopped
