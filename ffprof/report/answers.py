"""What an audit or a learning study comes to, in a few lines.

Of an audit a line for each claim, or for its two halves, memory and speed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ffprof.analysis.learning.gaps import Gap
from ffprof.analysis.learning.verdicts import WORDS, AccuracyVerdict, points_words
from ffprof.analysis.summary import Row
from ffprof.analysis.verdicts import word
from ffprof.records.audit import Record, Verdict
from ffprof.units import format_bytes, format_rate, format_ratio

Wordings = tuple[str, ...]  # of one answer, the longest first

_FITS = ("fits", "does not fit")  # findings
_UNJUDGED = ("ratio only", "not comparable")
_LARGEST = 1e6  # a ratio that is printed


def answers(record: Record, rows: Sequence[Row]) -> tuple[Wordings, ...]:
    """Verdicts as they are stored: decided ones first, then those on memory.

    Memory and speed of one challenger against one baseline are an answer together, also where the
    best row of a family is another one for each. Without any claim, the smallest and the fastest
    row. Of an audit that is not finished, how much is missing comes first.
    """
    missing = len(record.missing())
    planned = len(record.plan.workloads) * record.plan.rounds
    told: list[Wordings] = []
    if missing:
        told.append((f"not finished: {missing} of {planned} trials are missing",))
    if not record.verdicts:
        return (*told, *(() if missing else _extremes(record, rows)))
    claims = {claim.id: claim.baseline for claim in record.recipe.claims}
    pairs: dict[tuple[str, str], dict[str, Verdict]] = {}
    for verdict in record.verdicts:
        if record.machine.null_device and verdict.metric == "throughput":
            continue  # it has no speeds; what fits says its verdict on memory
        against = claims.get(verdict.claim, verdict.baseline)
        pair = pairs.setdefault((verdict.challenger, against), {})
        pair.setdefault(verdict.metric, verdict)
    estimated = record.evidence == "estimated"
    told += [_answer(pair, estimated) for pair in sorted(pairs.values(), key=_place)]
    return tuple(told)


def _place(pair: dict[str, Verdict]) -> tuple[bool, bool]:
    """Stable: what is not said here stays in the order of the claims."""
    decided = any(verdict.supported is not None for verdict in pair.values())
    return not decided, "memory" not in pair


def _answer(pair: dict[str, Verdict], estimated: bool) -> Wordings:
    memory, speed = pair.get("memory"), pair.get("throughput")
    if memory is None or speed is None:
        (one,) = pair.values()
        return _one(one, estimated)
    if memory.ratio is None or speed.ratio is None:
        if memory.finding == speed.finding and memory.finding in _FITS:
            return _one(memory, estimated)
        told = zip(_spread(_one(memory, estimated)), _spread(_one(speed, estimated)), strict=True)
        return tuple("; ".join(both) for both in told)
    about, mark, end = _marks(estimated)
    more, fast = _times(memory.ratio), _times(speed.ratio)
    ours, theirs = memory.challenger, memory.baseline
    told_memory, told_speed = _status(memory), "" if estimated else _status(speed)
    if speed.baseline != theirs:
        of = f"{about}{fast} times the speed of {speed.baseline}"
        return (
            f"{ours} needs {about}{more} times the memory of {theirs}: {told_memory}; it runs at "
            f"{of}{f': {told_speed}' if told_speed else ''}{end}",
            f"{ours}: memory {mark}{more}x {theirs} {told_memory}, speed {mark}{fast}x "
            f"{speed.baseline} {told_speed}".rstrip(),
        )
    spoken = f"; speed {told_speed}" if told_speed else ""
    return (
        f"{ours} needs {about}{more} times the memory of {theirs}, at {about}{fast} times its "
        f"speed: {told_memory}{spoken}{end}",
        f"{ours} needs {mark}{more}x the memory of {theirs} at {mark}{fast}x its speed: "
        f"{told_memory}{spoken}",
        f"{ours} vs {theirs}: memory {mark}{more}x {told_memory}, speed {mark}{fast}x "
        f"{told_speed}".rstrip(),
    )


def _one(verdict: Verdict, estimated: bool) -> Wordings:
    """One metric alone, or what could not be compared."""
    about, mark, end = _marks(estimated)
    ours, theirs, status = verdict.challenger, verdict.baseline, _status(verdict)
    if verdict.finding in _FITS:
        first, other = (ours, theirs) if verdict.finding == "fits" else (theirs, ours)
        return (
            f"{first} fits where {other} does not: {verdict.metric} {status}{end}",
            f"{first} fits, {other} does not: {status}",
        )
    if verdict.ratio is None:
        sentence = verdict.sentence.removeprefix("estimated: ")
        return f"{sentence}{end}", f"{ours} vs {theirs}: no verdict on {verdict.metric}"
    times = _times(verdict.ratio)
    does, of = ("needs", "memory") if verdict.metric == "memory" else ("runs at", "speed")
    return (
        f"{ours} {does} {about}{times} times the {of} of {theirs}: {status}{end}",
        f"{ours} vs {theirs}: {of} {mark}{times}x {status}",
    )


def _spread(wordings: Wordings) -> Wordings:
    """The longest and the shortest."""
    return wordings[0], wordings[-1]


def _marks(estimated: bool) -> tuple[str, str, str]:
    return ("about ", "~", " (estimated)") if estimated else ("", "", "")


def _status(verdict: Verdict) -> str:
    return "no verdict" if verdict.finding in _UNJUDGED else word(verdict.supported)


def _times(ratio: float) -> str:
    return f"over {_LARGEST:,.0f}" if ratio > _LARGEST else format_ratio(ratio).removesuffix("x")


def _extremes(record: Record, rows: Sequence[Row]) -> tuple[Wordings, ...]:
    known = [row for row in rows if row.usable and row.memory and not row.disturbed]
    if not known:
        return ()
    end = _marks(record.evidence == "estimated")[2]
    smallest = min(known, key=lambda row: row.memory.median if row.memory else 0.0)
    if len(known) == 1:
        return ((f"{smallest.workload}: {_figures(smallest)}{end}",),)
    told = [(f"smallest: {smallest.workload}, {_figures(smallest)}{end}",)]
    timed = [row for row in known if row.throughput]
    if timed:
        fastest = max(timed, key=lambda row: row.throughput.median if row.throughput else 0.0)
        told.append((f"fastest: {fastest.workload}, {_figures(fastest)}{end}",))
    return tuple(told)


def _figures(row: Row) -> str:
    told = [format_bytes(round(row.memory.median))] if row.memory else []
    told += [f"{format_rate(row.throughput.median)} img/s"] if row.throughput else []
    return ", ".join([*told, *([row.fit] if row.fit else [])])


def learning_answers(
    first: Sequence[str], verdicts: Sequence[AccuracyVerdict], gaps: Sequence[Gap]
) -> tuple[Wordings, ...]:
    """What a study comes to: the best row, decided differences, what is not told apart.

    Of a sweep over numbers, how the gaps change; of another sweep, differences are counted by row.

    Args:
        first: what is said before: what is missing, and the best row.
        verdicts: all of the study.
        gaps: of a sweep over numbers of classes or images.
    """
    told: list[Wordings] = [(line,) for line in first]
    fitted = [gap for gap in gaps if gap.line is not None]
    told += [(gap.sentence, gap.sentence.partition(" (")[0]) for gap in fitted]
    if fitted:
        return tuple(told)
    tasks = {one.task for one in verdicts}
    if len(tasks) == 1:
        decided = [one for one in verdicts if one.finding in _DECIDED]
        decided.sort(key=lambda one: -abs(one.points or 0.0))
        told += [(_difference(one),) for one in decided]
        left = [one for one in verdicts if one.finding not in _DECIDED]
        for kind in dict.fromkeys((one.about, one.finding) for one in left):
            alike = [one for one in left if (one.about, one.finding) == kind]
            names = ", ".join(one.workload for one in alike)
            against = f"against {alike[0].baseline}" if kind[0] == "rows" else _LABELS
            told.append((f"{against}, {WORDS[kind[1]]}: {names}",))
        return tuple(told)
    for name in dict.fromkeys(one.workload for one in verdicts if one.about == "rows"):
        mine = [one for one in verdicts if one.workload == name and one.about == "rows"]
        counts = Counter(one.finding for one in mine)
        found = ", ".join(f"{word} in {count}" for word, count in counts.most_common())
        told.append((f"{name} against {mine[0].baseline}, of {len(mine)} tasks: {found}",))
    told += [
        (f"{_LABELS}: {one.workload} is {one.finding}",)
        for one in verdicts
        if one.about == "labels"
    ]
    return tuple(told)


_LABELS = "a coarse head against a fine one graded on groups"
_DECIDED = ("better", "worse", "does not differ", "not worse")


def _difference(one: AccuracyVerdict) -> str:
    points = one.points or 0.0
    way = "more" if points > 0 else "less"
    if one.about == "labels":
        return f"{_LABELS}: {one.workload} is {points_words(points)} points {way}, {one.finding}"
    return (
        f"{one.workload} reads {points_words(points)} points {way} than {one.baseline}: "
        f"{WORDS[one.finding]}"
    )
