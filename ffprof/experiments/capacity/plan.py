"""``ffprof run --max-batch`` and ``--max-depth``: the largest size of every workload that fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ffprof.errors import UsageError
from ffprof.estimator.sizes import flat_shape
from ffprof.experiments.audit.plan import request_for
from ffprof.experiments.capacity.probe import CardProbe
from ffprof.experiments.capacity.request import CapacityRequest, Grown
from ffprof.experiments.options import Options
from ffprof.experiments.request import Request
from ffprof.experiments.selection import absent_members, choose_preset
from ffprof.experiments.session import Setup, guard_over, path_beside, record_beside, set_up
from ffprof.experiments.terms import NO_SPEED, target_here
from ffprof.records.files import prepare_folder, writing
from ffprof.workload import Description
from ffprof.workload.step import StepDescription

# Options that mean something for an audit only, and why not here.
_OF_AUDITS = {
    "rounds": "a size is run once",
    "steps": "nothing is timed",
    "full": "its report has no details",
    "relative_to": "a size has no ratio",
    "dry_run": "--device estimate searches without running anything",
}


def grown_by(options: Options, written: Mapping[str, Any]) -> Grown:
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
def prepare_search(options: Options, grown: Grown) -> Iterator[CapacityRequest]:
    """The search that is ready to run, as long as this context lasts.

    Raises:
        FfprofError: it is impossible; nothing is written then.
    """
    with set_up(options) as setup:
        _check_fed(setup.chosen.workloads, grown)
        made = _request(request_for(setup.kinds[0], setup), setup, grown)
        prepare_folder(options.out)
        with writing(made.path):
            yield made


def _request(request: Request, setup: Setup, grown: Grown) -> CapacityRequest:
    record, options = request.record, setup.options
    # Said of audits: nothing is compared here, and speed is not requested.
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
        server=setup.session.server,
        target=request.target or target_here(record, setup),
        run_probe=run_probe,
        time_limit_seconds=options.time_limit,
        run_limit_seconds=options.run_limit,
        guard=guard,
        environment=request.environment,
    )


def _check_fed(workloads: tuple[Description, ...], grown: Grown) -> None:
    for one in workloads:
        if isinstance(one, StepDescription) and (grown == "depth" or not one.takes_batch):
            raise UsageError(
                f"{one.id} supplies its own data, so its {grown} cannot be changed from here",
                "leave it out of --workloads"
                if grown == "depth"
                else "give its build an argument batch: def build(device, batch)",
            )
