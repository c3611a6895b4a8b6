"""Where a result file contradicts itself: what it concludes, made again from what was measured."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ffprof.analysis.frontier.standings import settle
from ffprof.analysis.verdicts import judge, place, word
from ffprof.errors import RecordError
from ffprof.records.audit import Record, Verdict
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.learning import LearningRecord
from ffprof.records.store import AnyRecord, Reading
from ffprof.units import format_ratio
from ffprof.version import __version__

_SAME = 1e-9  # by which a ratio that was made again may be off, relatively
_LISTED = 5  # contradictions of one kind


HEADLINE = "THIS FILE CONTRADICTS ITSELF"
CHANGED = "it was changed after ffprof wrote it: its digest is not that of what it holds"


def alarms(reading: Reading) -> tuple[str, ...]:
    """What must be read before anything else in a file, a line each; nothing if it agrees."""
    lines = []
    if reading.belonging == "differs":
        lines.append(CHANGED)
    for told in (reading.impossible, conclusions(reading.record)):
        lines += told[:_LISTED]
        if len(told) > _LISTED:
            lines.append(f"and {len(told) - _LISTED} more like this (ffprof verify lists all)")
    return (HEADLINE, *lines) if lines else ()


def changed(readings: Iterable[Reading]) -> tuple[str, ...]:
    """What must be read before files are held against each other: which were changed."""
    lines = [f"{str(one.path)[:500]}: {CHANGED}" for one in readings if one.belonging == "differs"]
    return (HEADLINE, *lines) if lines else ()


def require_as_written(reading: Reading) -> None:
    """Fail if a result file was changed, where its figures would be used without a word of that.

    Raises:
        RecordError: its digest is not that of what it holds.
    """
    if reading.belonging == "differs":
        raise RecordError(
            f"{str(reading.path)[:500]} was changed after it was written, so it is not used",
            f"ffprof verify {shlex.quote(str(reading.path))} says what does not hold",
        )


def note_on(reading: Reading) -> tuple[str, ...]:
    """A note for a record that goes on, and whose file will be written with a new digest."""
    if reading.belonging != "differs":
        return ()
    return (f"when it was resumed, this file contradicted itself: {CHANGED}",)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that a file is held against: whether it holds, or None where it does not apply."""

    name: str
    holds: bool | None
    lines: tuple[str, ...]


def checks_of(reading: Reading) -> tuple[Check, ...]:
    """Everything that can be checked of a result file from the file alone."""
    record = reading.record
    digest = {
        "belongs": (True, "it is that of what the file holds"),
        "none": (None, "no digest: it was written by a version that made none"),
        "differs": (False, CHANGED),
    }
    holds, told = digest[reading.belonging]
    wrong, figures = conclusions(record), reading.impossible
    recipe = isinstance(record, Record | LearningRecord)
    judged = _concluded(record)
    return (
        Check(name="digest", holds=holds, lines=(told,)),
        Check(
            name="recipe",
            holds=True if recipe else None,
            # The file would not have been read otherwise.
            lines=("its hash is that of the recipe",)
            if isinstance(record, Record | LearningRecord)
            else ("a file of this kind has no hash of its recipe",),
        ),
        Check(
            name="figures",
            holds=not figures,
            lines=figures or ("none is impossible",),
        ),
        Check(
            name="conclusions",
            holds=not wrong if judged else None,
            lines=wrong or ((judged or "there are none to judge again"),),
        ),
    )


def _concluded(record: AnyRecord) -> str:
    """What was made again and held against a file, in words; empty if there is nothing."""
    if isinstance(record, Record):
        count, what = len(record.verdicts), "verdict"
    elif isinstance(record, FrontierRecord):
        count, what = len(record.points), "point"
        if record.kind == "capacity":
            count, what = len(record.capacities), "largest size"
    elif isinstance(record, CalibrationRecord):
        count, what = len(record.arms), "change"
    else:
        return ""
    each = "all follow" if count > 1 else "it follows"
    return f"{count} {what}{'s' * (count > 1)} judged again: {each} from the record" * bool(count)


def conclusions(record: AnyRecord) -> tuple[str, ...]:
    """Conclusions that do not follow from the record, a line each; nothing if all do.

    Those are verdicts of an audit, the standing of points of a frontier, the largest sizes of a
    search and what a calibration finds. A study's are made from its runs whenever it is printed. A
    file without any, because its run was stopped before it came to one, contradicts nothing.
    """
    if isinstance(record, Record):
        return tuple(_verdicts(record))
    if isinstance(record, FrontierRecord):
        return tuple(_standings(record) if record.kind == "frontier" else _capacities(record))
    if isinstance(record, CalibrationRecord):
        return tuple(_arms(record))
    return ()


def _verdicts(record: Record) -> Iterator[str]:
    if not record.verdicts:
        return
    made = {verdict.claim: verdict for verdict in judge(record)}
    stored = {verdict.claim: verdict for verdict in record.verdicts}
    rules = "" if record.ffprof == __version__ else f" by the rules of ffprof {__version__}"
    if len(stored) < len(record.verdicts):
        yield "two of its verdicts are on one claim"
    for claim, verdict in stored.items():
        if claim not in made:
            yield f"its verdict on {claim} is on no claim of its recipe and rows"
        elif told := _difference(verdict, made[claim]):
            yield f"its verdict on {claim} {told}{rules}"
    for claim in sorted(made.keys() - stored.keys()):
        yield f"it has no verdict on {claim}, and its trials give {_told(made[claim])}"


def _difference(stored: Verdict, made: Verdict) -> str:
    if (stored.supported, stored.finding) != (made.supported, made.finding):
        return f"is {_told(stored)}, and its trials give {_told(made)}"
    theirs = (stored.ratio, *(stored.interval or ()))
    ours = (made.ratio, *(made.interval or ()))
    if len(theirs) != len(ours) or not all(map(_near, theirs, ours)):
        return f"has the figures {_figures(theirs)}, and its trials give {_figures(ours)}"
    names = ("challenger", "baseline", "metric", "rounds")
    for name in names:
        if getattr(stored, name) != getattr(made, name):
            return (
                f"has the {name} {getattr(stored, name)}, and its trials give {getattr(made, name)}"
            )
    if _claims(stored.sentence, stored) != _claims(made.sentence, made):
        return f"reads {stored.sentence[:300]!r}, and its trials give {made.sentence[:300]!r}"
    return ""


def _claims(sentence: str, verdict: Verdict) -> tuple[bool, ...]:
    """What a sentence says of its claim, whatever the words that a version puts it in."""
    words = [word(one) for one in (False, True, None)]
    ratio = "" if verdict.ratio is None else format_ratio(verdict.ratio)
    return tuple(one in sentence for one in (*words, "no verdict", ratio))


def _told(verdict: Verdict) -> str:
    return f"{verdict.finding!r} ({word(verdict.supported)})"


def _figures(values: tuple[float | None, ...]) -> str:
    return ", ".join("none" if value is None else f"{value:.6g}" for value in values)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_SAME)


def _standings(record: FrontierRecord) -> Iterator[str]:
    made = {point.id: point for point in settle(record).points}
    for point in record.points:
        told = _other(point, made[point.id])
        if told:
            yield f"point {point.id} {told}"


def _other(stored: Point, made: Point) -> str:
    for name in ("standing", "memory_bytes", "images_per_second", "on_frontier", "best"):
        ours, theirs = getattr(stored, name), getattr(made, name)
        if isinstance(ours, float) or isinstance(theirs, float):
            if _near(ours, theirs):
                continue
        elif ours == theirs:
            continue
        what = name.replace("_", " ")
        return f"has {what} {ours}, and its trials give {theirs}"
    return ""


def _capacities(record: FrontierRecord) -> Iterator[str]:
    """Sizes that were not tried, or that ended otherwise; what is proven is read so or not at all.

    A run says more than an estimate of the same size.
    """
    for one in record.capacities:
        runs = {t.size: t.outcome == "ok" for t in one.tried if t.evidence != "estimated"}
        fits = {t.size: t.fit == "fits" for t in one.tried if t.evidence == "estimated"} | runs
        size = f"{one.grown.replace('-', ' ')} {one.largest}"
        if one.largest and not fits.get(one.largest, False):
            how = "did not fit" if one.largest in fits else "was not tried"
            yield f"{one.workload}: {size} is said to be the largest, and it {how}"
        beyond = sorted(n for n, well in runs.items() if well and n > one.largest)
        if beyond:
            yield f"{one.workload}: {size} is said to be the largest, and {beyond[-1]} ran, too"
        failing = one.first_failing
        if failing is not None and fits.get(failing, True):
            how = "did fit" if failing in fits else "was not tried"
            yield f"{one.workload}: {failing} is said not to fit, and it {how}"


def _arms(record: CalibrationRecord) -> Iterator[str]:
    for arm in record.arms:
        if arm.low is None or arm.high is None:
            continue
        if not arm.low <= arm.ratio <= arm.high:
            yield f"the ratio of {arm.workload} is outside of its own interval"
            continue
        found = place(arm.low, arm.high)
        changed = found if found in _CHANGES and not arm.because else None
        if changed != (arm.finding if arm.finding in _CHANGES else None):
            yield (
                f"it says that {arm.workload} is {arm.finding}, and its interval of {arm.low:.3f} "
                f"to {arm.high:.3f} says {found}"
            )


_CHANGES = ("faster", "slower")
