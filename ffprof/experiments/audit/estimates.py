"""The trials of an estimated audit: nothing is measured, so they may share a child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ffprof.estimator.target import Estimated
from ffprof.estimator.worker import estimate_child
from ffprof.experiments.audit.recorder import Recorder
from ffprof.experiments.campaign import Campaign, trial_line
from ffprof.experiments.request import Request, Slot
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending
from ffprof.workload import Description
from ffprof.workload.user_file import address

_Waiting = tuple[Slot, str | Description]


def run_estimates(
    recorder: Recorder, request: Request, slots: Sequence[Slot], campaign: Campaign
) -> None:
    """Estimate every slot, in the order of rows.

    Registered workloads share a child; those of a file have one each.
    """
    rows = recorder.record.plan.workloads
    limit = campaign.limit(recorder.record.plan.trial_limit_seconds)
    waiting = []
    for slot in sorted(slots, key=lambda slot: rows.index(slot.workload)):
        refusal = recorder.refused(slot.workload)
        if refusal:
            recorder.refuse(slot, refusal)
        else:
            waiting.append((slot, address(recorder.descriptions[slot.workload])))
    groups = [[one] for one in waiting if not isinstance(one[1], str)]
    shared = [one for one in waiting if isinstance(one[1], str)]
    if shared:
        groups.insert(0, shared)
    done = len(slots) - len(waiting)
    for group in groups:

        def start(number: int, group: Sequence[_Waiting] = group) -> None:
            text = f"round 1 {group[number][0].workload}"
            campaign.progress.starts(text, done, len(slots))

        def answered(number: int, ending: Ending, group: Sequence[_Waiting] = group) -> None:
            nonlocal done
            found = tuple(m.trial() if isinstance(m, Estimated) else m for m in ending.messages)
            trial = recorder.keep(group[number][0], replace(ending, messages=found))
            campaign.progress.ends(trial_line(trial))
            done += 1
            if number + 1 < len(group):
                start(number + 1)

        start(0)
        pieces = [(found, recorder.record.recipe) for _, found in group]
        run_series(request.context, estimate_child, pieces, limit, answered, (request.target,))
