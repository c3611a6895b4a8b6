"""The report of a learning study: its table, what differs, how gaps change, and what failed.

The answer comes first: accuracies and what they differ by in the table, then in sentences.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from ffprof.analysis.learning.gaps import judge_gaps
from ffprof.analysis.learning.summary import (
    LearningRow,
    summarise_learning,
    swept_value,
    task_words,
)
from ffprof.analysis.learning.verdicts import (
    WORDS,
    AccuracyFinding,
    AccuracyVerdict,
    baseline_of,
    judge_learning,
)
from ffprof.analysis.statistics.differences import CONFIDENCE, Mean
from ffprof.analysis.summary import Spread
from ffprof.records.learning import LearningRecord
from ffprof.report.answers import learning_answers
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.header import learning_setting
from ffprof.report.search import tuning_block
from ffprof.units import format_bytes, format_rate

MOST_DIGITS = 2  # of a percentage
WITH_INTERVALS = 4  # values of a sweep: of more, the half intervals do not fit 80 columns
SHARED = "*"
_SHORT: dict[AccuracyFinding, str] = {
    "does not differ": "same", "too few seeds": "few seeds", "inconclusive": "unclear",
    "not comparable": "-",
}  # fmt: skip
_Cell = Callable[[LearningRow], str]


def learning_document(
    record: LearningRecord, path: Path | None = None, baseline: str | None = None
) -> Document:
    """The report of a study.

    Args:
        record: finished or not.
        path: its file, if it is known, for the command that goes on.
        baseline: what workloads are compared with; the first of the plan by default.

    Raises:
        UsageError: the baseline is not in the record.
    """
    rows, verdicts = summarise_learning(record), judge_learning(record, baseline)
    against = baseline_of(record, baseline)
    swept = len(record.plan.tasks) > 1
    changes = judge_gaps(record, baseline)
    gaps = [line for gap in changes for line in (gap.sentence, *gap.remarks)]
    table = _sweep(record, rows) if swept else _plain(record, rows, verdicts)
    recipe = record.recipe
    return printable(
        Document(
            title=f"Learning: {recipe.backbone} on {recipe.data}, {record.evidence}",
            setting=learning_setting(record),
            blocks=(
                _unfinished(record, path),
                table,
                Block(heading=_gap_heading(record), lines=tuple(gaps)),
                _verdicts(record, verdicts, against),
                tuning_block(record),
                Block(heading="What did not end well", lines=_failures(record, rows)),
                _costs(record, rows) if swept else Block(),
                _differences(verdicts) if swept else Block(),
                Block(heading="Notes", lines=_reservations(record, rows)),
                Block(heading="Notes on the run", lines=record.notes, detail=True),
            ),
            answers=learning_answers(_first(record, rows), verdicts, changes),
        )
    )


def _gap_heading(record: LearningRecord) -> str:
    return f"The gap over log2 {'K' if record.plan.swept == 'classes' else 'of the images'}"


def _first(record: LearningRecord, rows: Sequence[LearningRow]) -> list[str]:
    missing, known = len(record.missing()), [row for row in rows if row.accuracy is not None]
    told = [f"not finished: {missing} of {len(record.slots())} runs are missing"] if missing else []
    if known and len(record.plan.tasks) == 1:
        best = max(known, key=lambda row: row.accuracy.value if row.accuracy else 0.0)
        told.append(f"best: {best.workload}, {percent(best.accuracy)} % on the test set")
    return told


def percent(mean: Mean | None) -> str:
    """An accuracy in percent with half its interval: ``71.24 ± 0.31``, ``71.2 ± 1.4``."""
    if mean is None:
        return "-"
    if mean.half is None:
        return f"{mean.value:.{MOST_DIGITS - 1}f}"
    digits = _digits(mean.half)
    return f"{mean.value:.{digits}f} ± {mean.half:.{digits}f}"


def _digits(half: float) -> int:
    """Decimals that the interval allows: two digits of its half, and no more than two decimals."""
    return 0 if half >= 10 else 1 if half >= 1 else MOST_DIGITS


def _unfinished(record: LearningRecord, path: Path | None) -> Block:
    missing, planned = len(record.missing()), len(record.slots())
    if not missing:
        return Block()
    go_on = "" if path is None else f"; go on with: ffprof learn --resume {shlex.quote(str(path))}"
    return Block(
        text=(
            f"Not finished: {missing} of {planned} runs are missing{go_on}",
            "Until then, verdicts are of the seeds so far, and may change.",
        )
    )


def _ordered(record: LearningRecord, rows: Sequence[LearningRow]) -> list[str]:
    """Workloads by their accuracy, the best first; by its mean over tasks where there are some."""

    def mean(name: str) -> float:
        found = [r.accuracy.value for r in rows if r.workload == name and r.accuracy is not None]
        return -sum(found) / len(found) if found else 1.0

    return sorted(record.plan.workloads, key=mean)


def _plain(
    record: LearningRecord, rows: Sequence[LearningRow], verdicts: Sequence[AccuracyVerdict]
) -> Block:
    """One task: a row a workload."""
    by_name = {row.workload: row for row in rows}
    ordered = [by_name[name] for name in _ordered(record, rows)]
    told = {v.workload: _short(v) for v in verdicts if v.about == "rows"}
    base = next((v.baseline for v in verdicts if v.about == "rows"), "")
    against: tuple[Column, _Cell] = (
        Column(name=f"less {base}", rank=1),
        lambda row: told.get(row.workload, "-"),
    )
    columns = [_ROW, _ACCURACY, *([against] if told else []), *_cost_columns(record), *_MORE]
    rules = dict.fromkeys(rule for row in ordered for rule in row.rules)
    columns += [(Column(name=f"by {rule}", wide=True), _by(rule)) for rule in rules]
    return _table(columns, ordered, _caption(record, ordered))


def _sweep(record: LearningRecord, rows: Sequence[LearningRow]) -> Block:
    """Several tasks: a row a workload, and a column a value of the sweep."""
    found = {(row.task, row.workload): row for row in rows}
    places = range(len(record.plan.tasks))
    columns = (
        Column(name="workload", numeric=False),
        *(Column(name=swept_value(record, task)) for task in places),
    )
    whole = len(places) <= WITH_INTERVALS
    halves = [row.accuracy.half for row in rows if row.accuracy and row.accuracy.half is not None]
    most = max(halves, default=None)

    def cell(task: int, name: str) -> str:
        mean = found[task, name].accuracy
        if mean is None or whole:
            return percent(mean)
        return f"{mean.value:.{1 if mean.half is None else _digits(mean.half)}f}"

    what = {"classes": "number of classes", "samples": "number of images"}
    swept = what.get(record.plan.swept, record.plan.swept.replace("-", " "))
    caption = f"test accuracy in percent, mean over seeds, by {swept}"
    if whole and most is not None:
        caption += f"; ±: {100 * CONFIDENCE:g} % interval of the mean"
    elif most is not None:
        caption += f"; {100 * CONFIDENCE:g} % intervals are at most ±{most:.2f}"
    table = tuple((name, *(cell(task, name) for task in places)) for name in _ordered(record, rows))
    return Block(columns=columns, rows=table, caption=caption)


def _by(rule: str) -> _Cell:
    return lambda row: percent(row.rules.get(rule))


def _short(verdict: AccuracyVerdict) -> str:
    """A difference and its finding, for a cell: ``-1.24 worse``."""
    word = _SHORT.get(verdict.finding, verdict.finding)
    return word if verdict.points is None else f"{verdict.points:+.2f} {word}"


def _cost_columns(record: LearningRecord) -> list[tuple[Column, _Cell]]:
    target = record.training.target
    columns: list[tuple[Column, _Cell]] = [
        (Column(name="memory"), lambda row: _size(row.memory)),
        (Column(name="img/s"), lambda row: _timed(row, row.images_per_second, format_rate)),
        (Column(name="s to end"), lambda row: _timed(row, row.seconds, _seconds)),
    ]
    if target is not None:
        columns.append((Column(name=f"s to {100 * target:g} %"), _to_target))
    return columns


def _to_target(row: LearningRow) -> str:
    one = row.target
    if one is None:
        return "-"
    if one.seconds is None:
        return "never" if not one.reached else f"{one.reached} of {one.runs}"
    return _timed(row, one.seconds, _seconds)


def _target_images(row: LearningRow) -> str:
    return "-" if row.target is None or row.target.images is None else (
        f"{row.target.images.median:,.0f}"
    )  # fmt: skip


def _timed(row: LearningRow, spread: Spread | None, words: Callable[[float], str]) -> str:
    return "-" if spread is None else f"{words(spread.median)}{SHARED if row.shared else ''}"


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _size(spread: Spread | None) -> str:
    return format_bytes(round(spread.median) if spread else None)


def _number(spread: Spread | None) -> str:
    return "-" if spread is None else format_rate(spread.median)


_ROW: tuple[Column, _Cell] = (Column(name="workload", numeric=False), lambda row: row.workload)
_ACCURACY: tuple[Column, _Cell] = (
    Column(name="accuracy %"), lambda row: percent(row.accuracy)
)  # fmt: skip
_MORE: tuple[tuple[Column, _Cell], ...] = (
    (Column(name="seeds", wide=True), lambda row: f"{row.outcomes.get('ok', 0)}/{row.planned}"),
    (Column(name="validation %", wide=True), lambda row: percent(row.validation)),
    (Column(name="coarse %", wide=True), lambda row: percent(row.coarse)),
    (
        Column(name="loss", wide=True),
        lambda row: "-" if row.loss is None else f"{row.loss.value:.3f}",
    ),
    (Column(name="img to target", wide=True), _target_images),
    (Column(name="J/img", wide=True), lambda row: _number(row.joules_per_image)),
    (Column(name="J", wide=True), lambda row: _number(row.joules)),
)  # fmt: skip


def _table(
    columns: Sequence[tuple[Column, _Cell]], rows: Sequence[LearningRow], caption: str
) -> Block:
    """A table; a wide column without a figure is left out."""
    filled = [
        (column, cells)
        for column, cell in columns
        if (cells := [cell(row) for row in rows])
        if not column.wide or any(text != "-" for text in cells)
    ]
    return Block(
        columns=tuple(column for column, _ in filled),
        rows=tuple(tuple(cells[at] for _, cells in filled) for at in range(len(rows))),
        caption=caption,
    )


def _costs(record: LearningRecord, rows: Sequence[LearningRow]) -> Block:
    """What every workload took at every value of the sweep."""
    order = _ordered(record, rows)
    value: tuple[Column, _Cell] = (
        Column(name=record.plan.swept.replace("-", " ")),
        lambda row: swept_value(record, row.task),
    )
    ordered = sorted(rows, key=lambda row: (row.task, order.index(row.workload)))
    columns = [value, _ROW, *_cost_columns(record), *_MORE]
    table = _table(columns, ordered, _cost_caption(record, rows))
    return replace(table, heading="What it took")


def _caption(record: LearningRecord, rows: Sequence[LearningRow]) -> str:
    return (
        f"accuracy: on the test set, mean over seeds ± {100 * CONFIDENCE:g} % interval; "
        f"{_cost_caption(record, rows)}"
    )


def _cost_caption(record: LearningRecord, rows: Sequence[LearningRow]) -> str:
    memory = next((row.memory_is for row in rows if row.memory_is), "")
    parts = [f"memory: {memory}"] if memory else []
    parts += ["img/s: epochs after the first; seconds: of training, without validation"]
    if record.training.target is not None:
        parts.append("to the target: end of the first epoch whose validation reaches it")
    if any(row.shared for row in rows):
        parts.append(f"{SHARED} other runs had the machine at the same time: not comparable times")
    return "; ".join([*parts, f"all figures {record.evidence}, medians over seeds"])


def _verdicts(record: LearningRecord, verdicts: Sequence[AccuracyVerdict], against: str) -> Block:
    """A sentence each; in a sweep one line a workload, and the sentences further below."""
    heading = "Accuracy"
    intervals = any(one.interval for one in verdicts)
    caption = (
        "intervals of differences hold for all of them together in 99 of 100 studies"
        if intervals
        else ""
    )
    if len(record.plan.tasks) == 1:
        every = tuple(one.sentence for one in verdicts)
        return Block(heading=heading, lines=every, caption=caption)
    lines: list[str] = []
    for name in record.plan.workloads:
        told: dict[str, list[str]] = {}
        for one in verdicts:
            if one.about == "rows" and one.workload == name:
                told.setdefault(WORDS[one.finding], []).append(swept_value(record, one.task))
        if told:
            parts = [f"{word} at {_listed(values)}" for word, values in told.items()]
            lines.append(f"{name} against {against}: {'; '.join(parts)}")
    lines += [one.sentence for one in verdicts if one.about == "labels"]
    return Block(heading=heading, lines=tuple(lines), caption=caption)


def _differences(verdicts: Sequence[AccuracyVerdict]) -> Block:
    lines = tuple(one.sentence for one in verdicts if one.about == "rows")
    return Block(heading="Every difference", lines=lines)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values[:-1]) + (" and " if len(values) > 1 else "") + values[-1]


def _failures(record: LearningRecord, rows: Sequence[LearningRow]) -> tuple[str, ...]:
    lines = []
    for row in rows:
        where = f" at {task_words(record, row.task)}" if len(record.plan.tasks) > 1 else ""
        grouped: dict[tuple[str, str], list[str]] = {}
        for one in row.failures:
            grouped.setdefault((one.outcome, one.message), []).append(str(one.seed))
        for (outcome, message), seeds in grouped.items():
            many = "" if len(seeds) == 1 else "s"
            told = f": {message}" if message else ""
            lines.append(f"{row.workload}{where}, seed{many} {_listed(seeds)}: {outcome}{told}")
    return tuple(lines)


SLOW_DATA = 0.1  # of an epoch


def _reservations(record: LearningRecord, rows: Sequence[LearningRow]) -> tuple[str, ...]:
    """What must be known before a figure is quoted."""
    notes = []
    images = Counter(row.test_images for row in rows if row.test_images)
    if images:
        fewest = min(images)
        notes.append(
            f"verdicts are about these {fewest:,} test images and the scatter of seeds; other "
            f"images of the kind would move an accuracy of 50 % by about ±{_drawn(fewest):.1f} "
            "points (19 of 20)"
        )
    rules: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.rules:
            rules.setdefault(row.rule, {})[row.workload] = None
    notes += [f"judged by the rule {rule}: {', '.join(names)}" for rule, names in rules.items()]
    notes += [
        f"{run.id} was stopped while it was tested: its test set was read {run.test_reads} times"
        for run in record.runs
        if run.test_reads > 1
    ]
    notes += [
        f"{row.workload}: figures are of the {row.outcomes['ok']} of {row.ended} seeds that ended "
        "well, which flatters it"
        for row in rows
        if 0 < row.outcomes.get("ok", 0) < row.ended
    ]
    shares = [e.data_seconds / e.seconds for run in record.runs for e in run.epochs if e.seconds]
    if shares and median(shares) > SLOW_DATA:
        notes.append(
            f"making batches took {100 * median(shares):.0f} % of an epoch: speeds are the data's"
        )
    if record.missing():
        notes.append(
            "whoever judges a study before its end, and again at its end, is wrong more often than "
            "1 %"
        )
    return tuple(notes)


def _drawn(images: int) -> float:
    """Two standard deviations of the share of right answers, in points, at 50 %."""
    return float(2 * 100 * (0.25 / images) ** 0.5)
