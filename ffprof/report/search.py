"""How the workloads of a learning study were tuned: the best settings of each, and their gain."""

from __future__ import annotations

from collections import Counter

from ffprof.records.learning import LearningRecord
from ffprof.records.search import Search, SettingRange
from ffprof.report.document import Block, Column


def tuning_block(record: LearningRecord) -> Block:
    """The best settings, their validation accuracy and that of the defaults; empty untuned."""
    if not record.plan.tuning:
        return Block()
    rows = []
    for name in record.plan.workloads:
        search = record.search(name)
        rows.append((name, *(_cells(search) if search is not None else ("-", "-", "-", "-"))))
    return Block(
        heading="Tuning",
        text=_begun(record),
        columns=(
            Column(name="workload", numeric=False),
            Column(name="best %"),
            Column(name="default %"),
            Column(name="gain"),
            Column(name="trial"),
        ),
        rows=tuple(rows),
        lines=(*_found(record), *_searched(record), *_failures(record)),
        caption=_caption(record),
    )


def _cells(search: Search) -> tuple[str, ...]:
    """Best, default, their difference in points, and which trial was the best."""
    default = search.trials[0].accuracy if search.trials else None
    first = "-" if default is None else f"{100 * default:.2f}"
    if search.best is None:
        return ("-", first, "-", "-")
    best = search.trials[search.best]
    accuracy = best.accuracy or 0.0
    gain = "-" if default is None else f"{100 * (accuracy - default):+.2f}"
    place = f"{best.number + 1} of {len(search.trials)}" if best.number else "default"
    return (f"{100 * accuracy:.2f}", first, gain, place)


def _found(record: LearningRecord) -> tuple[str, ...]:
    """The settings that each workload is trained with."""
    lines = []
    for search in record.searches:
        told = ", ".join(f"{_words(name)} {value:.3g}" for name, value in search.settings.items())
        lines.append(f"{search.workload}: {told or 'the defaults, as no trial has ended well'}")
    return tuple(lines)


def _words(setting: str) -> str:
    return setting.replace("_", " ")


def _begun(record: LearningRecord) -> tuple[str, ...]:
    left = len(record.missing_trials())
    planned = record.plan.tuning * len(record.plan.workloads)
    return (f"Not finished: {left} of {planned} trials are missing.",) if left else ()


def _searched(record: LearningRecord) -> tuple[str, ...]:
    """Each range once, with whose it is unless it is everybody's."""
    owners: dict[str, list[str]] = {}
    for search in record.searches:
        for one in search.ranges:
            owners.setdefault(_range_words(one), []).append(search.workload)
    return tuple(
        f"searched: {words}"
        + ("" if len(names) == len(record.searches) else f" ({', '.join(names)})")
        for words, names in owners.items()
    )


def _range_words(one: SettingRange) -> str:
    scale = "by orders of magnitude" if one.log else "evenly"
    return f"{_words(one.name)} from {one.low:g} to {one.high:g}, {scale}"


def _failures(record: LearningRecord) -> tuple[str, ...]:
    lines = []
    for search in record.searches:
        for outcome, count in Counter(one.outcome for one in search.trials).items():
            if outcome != "ok":
                many = "trial" if count == 1 else "trials"
                first = next(one for one in search.trials if one.outcome == outcome)
                told = f", first: {first.message}" if first.message else ""
                lines.append(f"{search.workload}: {count} {many} {outcome}{told}")
    return tuple(lines)


def _caption(record: LearningRecord) -> str:
    trials, epochs = record.plan.tuning, record.training.epochs
    length = (
        f"{trials} trial{'' if trials == 1 else 's'} of {epochs} epoch{'' if epochs == 1 else 's'}"
    )
    where = f"seed {record.plan.seeds[0]}"
    if len(record.plan.tasks) > 1:
        where += ", on the first task, and used on all"
    best = ", which favours the best of many" if trials > 1 else ""
    samplers = dict.fromkeys(one.sampler for one in record.searches)
    told = f"; settings proposed by {', '.join(samplers)}" if samplers else ""
    return (
        f"every workload had the same budget: {length}, "
        f"from {where}, the first with the default settings; %: accuracy on the validation images"
        f"{best}; the test set was not read{told}"
    )
