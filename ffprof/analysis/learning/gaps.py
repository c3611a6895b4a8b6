"""How the gap between a workload and the baseline changes over a sweep, in words.

Over the number of classes, K, or of training images.

gap = baseline less workload, in points of accuracy: positive where the baseline is ahead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ffprof.analysis.learning.summary import ended_runs, percent_of
from ffprof.analysis.learning.verdicts import (
    baseline_of,
    diverged_words,
    interval_words,
    points_words,
)
from ffprof.analysis.statistics.differences import resolution
from ffprof.analysis.statistics.lines import BENT, Fitted, GapLine, gap_line
from ffprof.analysis.statistics.looks import ERROR
from ffprof.records.learning import LearningRecord, LearningRun

ZONE_SLOPE = 0.25  # points per doubling: a gap that changes by less counts as steady
Along = Literal["classes", "images"]
GapWord = Literal["widens", "narrows", "changes sign", "moves", "does not change", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class GapSeries:
    """The gaps of one workload, one entry for each seed and number of classes or images.

    ``numbers`` are those, and ``along`` says of what. ``least`` is the variance that steps of one
    test image make. ``left_out`` says which of them could not be used.
    """

    workload: str
    baseline: str
    numbers: tuple[float, ...]
    seeds: tuple[int, ...]
    gaps: tuple[float, ...]
    least: float = 0.0
    left_out: tuple[str, ...] = ()
    along: Along = "classes"

    @property
    def letter(self) -> str:
        """What a doubling is of."""
        return "K" if self.along == "classes" else "the images"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What is said of one series; ``line`` is None where none can be fitted."""

    series: GapSeries
    word: GapWord
    line: GapLine | None
    sentence: str
    remarks: tuple[str, ...] = ()


def judge_gaps(record: LearningRecord, baseline: str | None = None) -> tuple[Gap, ...]:
    """Every workload's gap to the baseline; none unless the study sweeps over numbers.

    Raises:
        UsageError: the baseline is not in the record.
    """
    theirs = baseline_of(record, baseline)
    others = [name for name in record.plan.workloads if name != theirs]
    if record.plan.swept not in ("classes", "samples", "samples-per-class"):
        return ()
    runs = ended_runs(record)
    return tuple(
        judge_gap(series_of(record, name, theirs, runs), ERROR / len(others)) for name in others
    )


def series_of(
    record: LearningRecord,
    workload: str,
    baseline: str,
    runs: Mapping[tuple[int, str], Sequence[LearningRun]] | None = None,
) -> GapSeries:
    """The gaps of all seeds that both sides have, by what is swept; not where one diverged.

    ``runs`` are those of the record that have ended, where they are known.
    """
    runs = ended_runs(record) if runs is None else runs
    found: list[tuple[float, int, float]] = []
    images, left_out = [], list[str]()
    along: Along = "classes" if record.plan.swept == "classes" else "images"
    for task, one in enumerate(record.plan.tasks):
        number = one.classes if along == "classes" else one.images or 0
        sides = [runs[task, name] for name in (baseline, workload)]
        told = [
            f"{number:,} {along} are left out: {name} {words}"
            for name, side in zip((baseline, workload), sides, strict=True)
            if (words := diverged_words(side, len(record.plan.seeds)))
        ]
        left_out += told
        if told:
            continue
        theirs, ours = ({run.seed: percent_of(run) for run in side} for side in sides)
        for seed in sorted(theirs.keys() & ours.keys()):
            if (a := theirs[seed]) is not None and (b := ours[seed]) is not None:
                found.append((float(number), seed, a - b))
        images += [run.test.images for side in sides for run in side if run.test is not None]
    return GapSeries(
        workload=workload,
        baseline=baseline,
        numbers=tuple(one[0] for one in found),
        seeds=tuple(one[1] for one in found),
        gaps=tuple(one[2] for one in found),
        least=resolution(min(images, default=1)),
        left_out=tuple(left_out),
        along=along,
    )


def judge_gap(series: GapSeries, error: float) -> Gap:
    """The line, and what its intervals allow to be said.

    Args:
        series: the gaps; where they come from does not matter.
        error: that the verdict may be wrong with, both sides together.
    """
    line = gap_line(series.numbers, series.seeds, series.gaps, error, series.least)
    who = f"the gap of {series.workload} to {series.baseline}"
    if isinstance(line, str):
        sentence = f"{who}: cannot tell, {line}"
        return Gap(
            series=series, word="cannot tell", line=None, sentence=sentence, remarks=series.left_out
        )
    word = word_of(line)
    remarks = list(series.left_out)
    if line.bent is not None and line.bent < BENT:
        remarks.append(
            f"not a line: the means at one number of {series.along} are up to "
            f"{points_words(line.departure)} points from it (p {_probability(line.bent)}), so the "
            "slope holds for these numbers only"
        )
    return Gap(
        series=series,
        word=word,
        line=line,
        sentence=_sentence(series, line, word),
        remarks=tuple(remarks),
    )


def word_of(line: GapLine) -> GapWord:
    """What the slope, and the fitted gap at both ends, allow to be said."""
    if line.low <= 0 <= line.high:
        inside = line.low >= -ZONE_SLOPE and line.high <= ZONE_SLOPE
        return "does not change" if inside else "cannot tell"
    signs = [_sign(end) for end in line.ends]
    if signs[0] * signs[1] < 0:
        return "changes sign"
    side = signs[0] or signs[1]
    if not side:
        return "moves"
    # A gap of either sign is as wide as its amount.
    return "widens" if side * line.slope > 0 else "narrows"


def _sign(end: Fitted) -> int:
    """Of the fitted gap; 0 unless it is sure."""
    return (end.low > 0) - (end.high < 0)


def _sentence(series: GapSeries, line: GapLine, word: GapWord) -> str:
    ours, theirs = series.workload, series.baseline
    first, last = line.ends
    many = f"{line.seeds} seeds, {first.classes:,.0f} to {last.classes:,.0f} {series.along}"
    within = interval_words(line.low, line.high)
    rate = f"{points_words(line.slope)} points per doubling of {series.letter} ({within}, {many})"
    if word in ("widens", "narrows"):
        side = _sign(first) or _sign(last)
        what = f"the gap of {ours} to {theirs}" if side > 0 else f"the lead of {ours} over {theirs}"
        ends = [side * end.gap for end in line.ends]
        small = max(abs(line.low), abs(line.high)) <= ZONE_SLOPE
        return (
            f"{what} {word} by {rate}, on the line from {_signed(ends[0])} to {_signed(ends[1])}"
            f"{f'; by no more than {ZONE_SLOPE:g} points per doubling' if small else ''}"
        )
    if word == "changes sign":
        ahead, behind = (first, last) if first.gap < 0 else (last, first)
        where = "" if line.crossing is None else f" at about {line.crossing:,.0f} {series.along}"
        return (
            f"the gap changes sign{where}: {ours} is ahead of {theirs} by "
            f"{points_words(ahead.gap)} at {ahead.classes:,.0f} {series.along}, and behind by "
            f"{points_words(behind.gap)} at {behind.classes:,.0f}; {rate}"
        )
    if word == "moves":
        winner = theirs if line.slope > 0 else ours
        return (
            f"{ours} against {theirs}: the gap moves in favour of {winner} by {rate}; which of "
            "them is ahead, and so whether it widens, cannot be told"
        )
    if word == "does not change":
        return (
            f"the gap of {ours} to {theirs} does not change by more than {ZONE_SLOPE:g} points per "
            f"doubling of {series.letter} ({within}, {many})"
        )
    return (
        f"the gap of {ours} to {theirs}: cannot tell whether it changes with {series.letter} "
        f"({within} points per doubling, {many})"
    )


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else ''}{points_words(value)}"


def _probability(value: float) -> str:
    return "under 0.0001" if value < 1e-4 else f"{value:.2g}"
