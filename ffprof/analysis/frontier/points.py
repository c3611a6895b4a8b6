"""What the trials and the estimate of one point of a frontier say, each by itself."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from ffprof.analysis.summary import marks_of, memory_of, rate
from ffprof.records.frontier import Guess, Point, Standing
from ffprof.records.trial import Trial

_CRASHES = 1  # that do not count against a point, if other trials of it are ok


def good_trials(point: Point) -> list[Trial]:
    """Its figures: trials that are ok and stayed inside the card's memory."""
    return [t for t in point.trials if t.outcome == "ok" and not exceeded(t)]


def exceeded(trial: Trial) -> int:
    """Bytes by which a process went beyond the card; 0 if it did not."""
    return trial.debit.exceeded_bytes if trial.debit else 0


def failure_of(point: Point) -> tuple[Standing, str] | None:
    """Why nothing more is run of a point, or None.

    One crash in addition to trials that are ok is no reason (``stray_crash``); nor is a trial that
    went beyond the card, if more of them stayed inside.
    """
    good, bad = good_trials(point), [t for t in point.trials if t.outcome != "ok"]
    for outcome, standing in _BAD:
        found = [t for t in bad if t.outcome == outcome]
        if found:
            return standing, found[-1].message or point.because
    crashed = [t for t in bad if t.outcome in ("crashed", "timeout")]
    if len(crashed) > (_CRASHES if good else 0):
        return "failed", crashed[-1].message or point.because
    beyond = [t for t in point.trials if t.outcome == "ok" and exceeded(t)]
    if beyond and len(beyond) >= len(good):
        return "does not fit", "; ".join(beyond[-1].conditions.disturbances)
    if not point.trials and point.standing in ("refused", "failed"):
        return point.standing, point.because  # known before anything is run
    return None


_BAD: tuple[tuple[str, Standing], ...] = (("refused", "refused"), ("oom", "does not fit"))


def stray_crash(point: Point) -> str:
    """What a trial of a point that counts all the same said when it failed; or nothing."""
    if not good_trials(point) or failure_of(point) is not None:
        return ""
    bad = [t for t in point.trials if t.outcome in ("crashed", "timeout")]
    return f"{bad[-1].outcome}: {bad[-1].message}" if bad else ""


def disturbed(point: Point) -> tuple[str, ...]:
    """What spoiled the figures of a point, if something did in all its trials."""
    told = [t.conditions.disturbances for t in good_trials(point)]
    return tuple(dict.fromkeys(one for some in told for one in some)) if all(told) else ()


def too_close(point: Point) -> bool:
    """Whether nothing is run of a point and its estimate cannot tell if it fits."""
    return not point.trials and point.guess is not None and point.guess.fit == "too close to call"


def marks(point: Point, *, real: bool) -> tuple[str, ...]:
    """Why a point must not win anything; ``real``: on images that can be learnt."""
    good = good_trials(point)
    return marks_of(good, real=real) if good else ()


def measured_memory(point: Point) -> int | None:
    """The median over its trials, in bytes."""
    known = [size for t in good_trials(point) if (size := memory_of(t)) is not None]
    return round(median(known)) if known else None


def measured_rates(point: Point) -> tuple[float, ...]:
    """Images per second, one a trial."""
    return tuple(rate(t) for t in good_trials(point))


def guess_fits(guess: Guess) -> bool:
    """Whether an estimate says that it likely fits."""
    return guess.outcome == "ok" and guess.fit != "does not fit"


def series_of(point: Point) -> str:
    """What points that differ only in their micro-batch have in common."""
    return f"{point.workload}/{point.precision}/{point.memory_format}"


def ran_out(points: Iterable[Point]) -> dict[str, Point]:
    """The smallest point of every series that ran out of memory, unless a larger one ran."""
    ran: dict[str, int] = {}
    points = tuple(points)
    for point in points:
        if good_trials(point):
            ran[series_of(point)] = max(ran.get(series_of(point), 0), point.micro_batch)
    found: dict[str, Point] = {}
    for point in points:
        series = series_of(point)
        if point.micro_batch < ran.get(series, 0):
            continue
        if any(t.outcome == "oom" for t in point.trials):
            other = found.get(series)
            if other is None or point.micro_batch < other.micro_batch:
                found[series] = point
    return found


def crowded(point: Point, full: dict[str, Point]) -> str:
    """Why a point without trials is known not to fit, in words; or nothing.

    Args:
        point: any.
        full: what ``ran_out`` found.
    """
    if point.trials:
        return ""
    if point.guess is not None and point.guess.fit == "does not fit":
        return point.guess.message or "estimated not to fit"
    smaller = full.get(series_of(point))
    if smaller is not None and smaller.micro_batch < point.micro_batch:
        return f"{smaller.id} ran out of memory"
    return ""
