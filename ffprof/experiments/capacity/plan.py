"""``ffprof run --max-batch`` and ``--max-depth``: the largest size of every workload that fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ffprof.errors import UsageError
from ffprof.estimator.sizes import flat_shape
from ffprof.estimator.target import Target, target_for
from ffprof.experiments.audit.plan import request_for
from ffprof.experiments.capacity.probe import CardProbe
from ffprof.experiments.capacity.request import CapacityRequest, Grown
from ffprof.experiments.options import Options
from ffprof.experiments.request import Request
from ffprof.experiments.selection import absent_members, choose_preset
from ffprof.experiments.session import Start, begun, guard_over, path_beside, record_beside
from ffprof.experiments.terms import NO_SPEED, cuda_of
from ffprof.hardware.cards import recognise
from ffprof.records.files import prepare_folder, writing
from ffprof.workload import Description
from ffprof.workload.user_file import StepDescription

# Options that mean something for an audit only, and why not here.
_OF_AUDITS = {
    "resume": "a search cannot be resumed: start it again",
    "rounds": "a size is run once",
    "steps": "nothing is timed",
    "dry_run": "--device estimate searches without running anything",
}


def _asked(options: Options, written: Mapping[str, Any]) -> Grown:
    """What is to grow; what contradicts it is refused by name."""
    chosen = [name for name in ("max_batch", "max_depth") if written.get(name)]
    option = f"--{chosen[0].replace('_', '-')}"
    if len(chosen) > 1:
        raise UsageError("--max-batch and --max-depth cannot be combined", "use one at a time")
    for name, why in _OF_AUDITS.items():
        if name in written:
            raise UsageError(f"{option} cannot be combined with --{name.replace('_', '-')}", why)
    if options.device == "cpu":
        raise UsageError(
            f"{option} searches for the limit of a GPU's memory, and --device cpu has none",
            "use --device estimate, or leave it out",
        )
    if chosen[0] == "max_batch":
        return "micro-batch"
    preset = choose_preset(options.preset, "cuda").recipe
    flat_shape(options.changes.get("backbone") or preset.backbone)
    return "depth"


@contextmanager
def _prepared(options: Options, grown: Grown) -> Iterator[CapacityRequest]:
    with begun(options) as (start, kinds):
        _check_fed(start.chosen.workloads, grown)
        request = request_for(kinds[0], start, paired=False)
        target = request.target or _target_here(request, start)
        made = _request(request, start, grown, target)
        prepare_folder(options.out)
        with writing(made.path):
            yield made


def _request(request: Request, start: Start, grown: Grown, target: Target) -> CapacityRequest:
    record, options = request.record, start.options
    # Said of audits: nothing is compared here, and speed is not asked for.
    beside = (absent_members(record.recipe, request.workloads), NO_SPEED)
    run_probe, guard = None, guard_over(request, options.on_foreign)
    if request.target is None:
        run_probe = CardProbe(
            context=request.context, budget=record.budget, evidence=record.evidence, guard=guard
        )
    return CapacityRequest(
        record=record_beside(
            request,
            "capacity",
            notes=tuple(note for note in record.notes if note not in beside),
        ),
        workloads=request.workloads,
        grown=grown,
        path=path_beside(request, "capacity"),
        server=start.server,
        target=target,
        run_probe=run_probe,
        time_limit_seconds=options.time_limit,
        run_limit_seconds=options.run_limit,
        guard=guard,
        environment=request.environment,
    )


def _target_here(request: Request, start: Start) -> Target:
    """What is proposed for this GPU: for the card that it is, or that it is held to."""
    record, asked = request.record, start.asked
    machine, card = record.machine, asked.card
    if record.evidence != "emulated":
        card = recognise(machine.gpu or "", None, machine.gpu_total_bytes, asked.own)
    target = target_for(record.budget, card, cuda_of(start.found), machine)
    # What libraries take for their work depends on the GPU that runs; the budget is the card's.
    return replace(target, capability=start.found.capability or target.capability)


def _check_fed(workloads: tuple[Description, ...], grown: Grown) -> None:
    for one in workloads:
        if isinstance(one, StepDescription):
            raise UsageError(
                f"{one.id} supplies its own data, so its {grown} cannot be changed from here",
                "leave it out of --workloads",
            )
