"""The trials of an estimated audit: nothing is measured, so they may share a child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ffprof.estimator.target import Estimated, Target
from ffprof.estimator.worker import estimate_child
from ffprof.experiments.audit.recorder import Keeper
from ffprof.experiments.request import Progress, Request, Slot
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending
from ffprof.records.audit import Trial
from ffprof.workload.user_file import FileDescription, address

_Waiting = tuple[Slot, str | FileDescription]


def run_estimates(
    keeper: Keeper,
    request: Request,
    target: Target,
    slots: Sequence[Slot],
    progress: Progress,
    limit_seconds: float,
) -> None:
    """Estimate every slot, in the order of rows; ``limit_seconds`` is that of one.

    Registered workloads share a child; those of a file have one each.
    """
    rows = keeper.record.plan.workloads
    ordered = sorted(slots, key=lambda slot: rows.index(slot.workload))
    waiting = []
    for slot in ordered:
        refusal = keeper.refused(slot.workload)
        if refusal:
            keeper.refuse(slot, refusal)
        else:
            waiting.append((slot, address(keeper.descriptions[slot.workload])))
    groups = [[one] for one in waiting if not isinstance(one[1], str)]
    shared = [one for one in waiting if isinstance(one[1], str)]
    if shared:
        groups.insert(0, shared)
    told = _Told(progress, len(ordered) - len(waiting), len(ordered))
    for group in groups:
        _run_group(keeper, request, target, group, told, limit_seconds)


class _Told:
    """Tells of every trial when it begins and when it ends."""

    def __init__(self, progress: Progress, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def starts(self, slot: Slot) -> None:
        self._progress.trial_starts(slot, self._done, self._total)

    def ends(self, trial: Trial) -> None:
        self._done += 1
        self._progress.trial_ends(trial, None)


def _run_group(
    keeper: Keeper,
    request: Request,
    target: Target,
    group: list[_Waiting],
    told: _Told,
    limit_seconds: float,
) -> None:
    def answered(number: int, ending: Ending) -> None:
        found = tuple(m.trial() if isinstance(m, Estimated) else m for m in ending.messages)
        told.ends(keeper.keep(group[number][0], replace(ending, messages=found)))
        if number + 1 < len(group):
            told.starts(group[number + 1][0])

    told.starts(group[0][0])
    run_series(
        request.context,
        estimate_child,
        [(found, keeper.record.recipe) for _, found in group],
        limit_seconds,
        answered,
        (target,),
    )
