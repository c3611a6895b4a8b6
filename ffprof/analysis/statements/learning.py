"""Statements on what is learned, answered by learning studies.

Leads are judged as a study judges them (``ffprof.analysis.learning``), against the workload that a
statement names instead of the study's first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ffprof.analysis.learning.gaps import Gap, GapWord, judge_gaps
from ffprof.analysis.learning.summary import ended_runs, summarise_learning
from ffprof.analysis.learning.verdicts import (
    FEWEST_SEEDS,
    diverged_words,
    interval_words,
    judge_learning,
    label_pairs,
    points_words,
)
from ffprof.analysis.statements.answer import (
    Agreement,
    Answer,
    Source,
    percent_agreement,
    points_agreement,
)
from ffprof.analysis.statistics.differences import paired_differences, resolution
from ffprof.analysis.statistics.looks import ERROR
from ffprof.records.learning import LearningRecord
from ffprof.records.recipe import DATA_CLASSES
from ffprof.records.statement import Accuracy, Granularity, Lead, Reversal, Widening

Learned = Accuracy | Lead | Widening | Granularity
_Study = tuple[Source, LearningRecord]


def learned(question: Learned, data: str, sources: Sequence[Source]) -> Answer | None:
    """The answer of the first study on ``data`` that has one.

    A figure that was read on a part of the data comes after those of all of it, and is not
    comparable.
    """
    reduced: Answer | None = None
    for source, record in _studies(data, sources):
        answer, less = _answer(question, record)
        if answer is None:
            continue
        setting = f"{record.recipe.backbone}, {record.training.epochs} epochs"
        answer = replace(
            answer,
            evidence=record.evidence,
            sources=(source.name,),
            finished=source.finished,
            sentence=f"{answer.sentence} ({setting}{f', {less}' if less else ''})",
        )
        if not less:
            return answer
        reduced = reduced or replace(answer, agreement="not comparable")
    return reduced


def reversal(
    question: Reversal, real: str, sources: Sequence[Source], *, half: bool = False
) -> Answer | None:
    """Both data sets side by side, each by its newest study.

    Real data must have been learned; with ``half``, either is enough, which cannot tell.
    """
    names = (question.synthetic, real)
    sides = [_side(question, data, sources) for data in names]
    known = [one for one in sides if one is not None]
    if not known or (sides[1] is None and not half):
        return None
    synthetic, on_real = (0 if one is None else _end(one[2]) for one in sides)
    grows = sides[0] is not None and (line := sides[0][2].line) is not None and line.high < 0
    agreement: Agreement = "cannot tell"
    if synthetic > 0 or on_real < 0:
        agreement = "contradicts"
    elif synthetic < 0 and on_real > 0:
        agreement = "agrees" if grows else "same sign"
    figure = "?" if not synthetic * on_real else "reverses" if synthetic < on_real else "does not"
    parts = [
        f"on {data}, {one[2].sentence if one else 'not run'}"
        for data, one in zip(names, sides, strict=True)
    ]
    return Answer(
        agreement=agreement,
        figure=figure,
        # The lesser, where they differ.
        evidence=max((one[1].evidence for one in known), key=lambda word: len(str(word))),
        sources=tuple(dict.fromkeys(one[0].name for one in known)),
        sentence="; ".join(parts),
        finished=len(known) == len(sides) and all(one[0].finished for one in known),
    )


def _studies(data: str, sources: Sequence[Source]) -> Iterator[_Study]:
    """Those on ``data``: finished ones first, then by how many images all runs trained on.

    So a later, smaller try does not displace a study; of equal ones the newest comes first.
    """
    found = [
        (source, source.record)
        for source in sources
        if isinstance(source.record, LearningRecord) and source.record.recipe.data == data
    ]
    yield from sorted(found, key=lambda pair: (not pair[0].finished, -_trained_images(pair[1])))


def _trained_images(record: LearningRecord) -> int:
    return sum(epoch.images for run in record.runs for epoch in run.epochs)


def _side(
    question: Reversal, data: str, sources: Sequence[Source]
) -> tuple[Source, LearningRecord, Gap] | None:
    found = [
        (source, record, gap)
        for source, record in _studies(data, sources)
        if (gap := _gap(record, question.ahead, question.behind)) is not None
    ]
    fitted = (one for one in found if one[2].line is not None)
    return next(fitted, found[0] if found else None)


def _end(gap: Gap) -> int:
    """Who leads at the most classes: 1 the baseline, -1 the workload, 0 if that is not sure."""
    if gap.line is None:
        return 0
    last = gap.line.ends[1]
    return (last.low > 0) - (last.high < 0)


def _gap(record: LearningRecord, ahead: str, behind: str) -> Gap | None:
    """Of ``behind`` to ``ahead`` over the classes of a study that sweeps over them."""
    if not {ahead, behind} <= set(record.plan.workloads):
        return None
    found = (one for one in judge_gaps(record, ahead) if one.series.workload == behind)
    return next((one for one in found if one.series.gaps and one.series.along == "classes"), None)


def _answer(question: Learned, record: LearningRecord) -> tuple[Answer | None, str]:
    """The answer without where it is from, and in words what is less than the whole data."""
    if isinstance(question, Widening):
        return _widening(question, record), ""
    if isinstance(question, Granularity):
        return _granularity(question, record), ""
    task, less = _whole(record)
    if task is None:
        return None, ""
    if isinstance(question, Accuracy):
        return _accuracy(question, record, task), less
    return _lead(question, record, task), less


def _whole(record: LearningRecord) -> tuple[int | None, str]:
    """The task with fine labels that has most of the data, and what it lacks of it."""
    tasks = record.plan.tasks
    fine = [at for at, one in enumerate(tasks) if one.labels == "fine"]
    if not fine:
        return None, ""

    def size(at: int) -> tuple[int, float, float]:
        one, most = tasks[at], float("inf")
        return one.classes, one.samples or most, one.samples_per_class or most

    at = max(fine, key=size)
    one, less = tasks[at], []
    if one.classes < DATA_CLASSES.get(record.recipe.data, one.classes):
        less.append(f"{one.classes} of its classes")
    if one.samples is not None:
        less.append(f"{one.samples:,} of its images")
    if one.samples_per_class is not None:
        less.append(f"{one.samples_per_class:,} of its images a class")
    return at, ", ".join(less)


def _accuracy(question: Accuracy, record: LearningRecord, task: int) -> Answer | None:
    found = [
        row
        for row in summarise_learning(record)
        if (row.task, row.workload) == (task, question.workload)
    ]
    mean = found[0].accuracy if found else None
    if mean is None:
        return None
    half = mean.half if mean.count >= FEWEST_SEEDS else None
    agreement, why = percent_agreement(question.percent, mean.value, half, least=question.least)
    seeds = f"{mean.count} seed{'s' if mean.count > 1 else ''}"
    exact = f"{mean.value:.2f}" if half is None else f"{mean.value:.2f} ± {half:.2f}"
    return Answer(
        agreement=agreement,
        figure=f"{_with_half(mean.value, half, most=1)} %",
        sentence=f"{question.workload} reads {exact} % over {seeds}: {why}",
    )


def _with_half(value: float, half: float | None, *, most: int, sign: str = "") -> str:
    """A figure with half its interval, in the decimals that this allows, ``most`` at most."""
    digits = most if half is None or half < 1 else min(most, 1) if half < 10 else 0
    told = f"{value:{sign}.{digits}f}"
    return told if half is None else f"{told} ± {half:.{digits}f}"


def _lead(question: Lead, record: LearningRecord, task: int) -> Answer | None:
    if not {question.ahead, question.behind} <= set(record.plan.workloads):
        return None
    verdict = next(
        v
        for v in judge_learning(record, question.behind)
        if (v.about, v.task, v.workload) == ("rows", task, question.ahead)
    )
    if verdict.points is None:
        return None
    if verdict.interval is None:
        return Answer(
            agreement="cannot tell",
            figure=f"{verdict.points:+.2f}",
            sentence=verdict.sentence,
        )
    low, high = verdict.interval
    agreement, why = points_agreement(question.points, low, high)
    return Answer(
        agreement=agreement,
        figure=_with_half(verdict.points, (high - low) / 2, most=2, sign="+"),
        sentence=f"{verdict.sentence}; {why}",
    )


def _widening(question: Widening, record: LearningRecord) -> Answer | None:
    gap = _gap(record, question.ahead, question.behind)
    if gap is None:
        return None
    # Positive is in favour of `ahead`; a lead of the other one may widen, too.
    rises = gap.line is not None and gap.line.slope > 0
    words: Mapping[GapWord, Agreement] = {
        "widens": "agrees" if rises else "contradicts",
        "narrows": "contradicts",
        "does not change": "contradicts",
        "changes sign": "same sign" if rises else "contradicts",
        "moves": "cannot tell" if rises else "contradicts",
        "cannot tell": "cannot tell",
    }
    return Answer(
        agreement=words[gap.word],
        figure={"cannot tell": "unsure", "does not change": "steady"}.get(gap.word, gap.word),
        sentence="; ".join((gap.sentence, *gap.remarks)),
    )


def _granularity(question: Granularity, record: LearningRecord) -> Answer | None:
    import numpy as np

    names = (question.ahead, question.behind)
    pairs = label_pairs(record)
    if not pairs or not set(names) <= set(record.plan.workloads):
        return None
    fine, coarse = pairs[0]
    runs = ended_runs(record)
    told = [
        f"{name} {words}"
        for task in (fine, coarse)
        for name in names
        if (words := diverged_words(runs[task, name], len(record.plan.seeds)))
    ]
    if told:
        return Answer(agreement="cannot tell", sentence="; ".join(told))
    found = {
        (task, name): {
            run.seed: (100 * run.accuracy, run.test.images)
            for run in runs[task, name]
            if run.accuracy is not None and run.test is not None
        }
        for task in (fine, coarse)
        for name in names
    }
    seeds = sorted(set.intersection(*(set(one) for one in found.values())))
    if not seeds:
        return None
    with_fine, with_coarse = (
        np.array([[found[task, names[0]][s][0] - found[task, names[1]][s][0] for s in seeds]])
        for task in (fine, coarse)
    )
    sentence = (
        f"{names[0]} leads {names[1]} by {with_fine.mean():+.2f} points with fine labels and "
        f"{with_coarse.mean():+.2f} with coarse ones"
    )
    if len(seeds) < FEWEST_SEEDS:
        few = f"{len(seeds)} seeds are too few"
        return Answer(agreement="cannot tell", figure="unsure", sentence=f"{sentence}: {few}")
    images = min(images for one in found.values() for _, images in one.values())
    # Of two leads, each a difference: twice the variance that one has by its steps.
    change = paired_differences(with_fine, with_coarse, ERROR, None, 2 * resolution(images))
    middle, half = float(change.middle[0]), float(change.half[0])
    low, high = middle - half, middle + half
    agreement: Agreement = "agrees" if low > 0 else "contradicts" if high < 0 else "cannot tell"
    words = {"agrees": "wider", "contradicts": "narrower"}.get(agreement, "unsure")
    return Answer(
        agreement=agreement,
        figure=words,
        sentence=f"{sentence}: {points_words(middle)} {'more' if middle >= 0 else 'less'} "
        f"({interval_words(low, high)}, {len(seeds)} seeds)",
    )
