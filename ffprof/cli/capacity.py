"""``ffprof run --max-batch`` and ``--max-depth``: the largest size of every workload that fits."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from ffprof.audit.capacities import find_capacities
from ffprof.audit.capacity_request import CapacityRequest, Grown
from ffprof.audit.probe_run import CardProbe
from ffprof.audit.request import Request
from ffprof.cli.beside_audits import guard_over, path_beside, record_beside
from ffprof.cli.choose import absent_members, choose_preset
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.new_audit import NO_SPEED
from ffprof.cli.options import Options
from ffprof.cli.prepare import begun
from ffprof.cli.request import Start, cuda_of, request_for
from ffprof.errors import NothingMeasuredError, UsageError
from ffprof.estimator.sizes import flat_shape
from ffprof.estimator.target import Target, target_for
from ffprof.hardware.cards import recognise
from ffprof.records.files import prepare_folder, writing
from ffprof.records.frontier import Capacity
from ffprof.report.capacity import capacity_document
from ffprof.report.exporters.terminal import OutputConsole, print_document
from ffprof.workload import Description
from ffprof.workload.user_file import StepDescription

# Options that mean something for an audit only, and why not here.
_OF_AUDITS = {
    "resume": "a search is not gone on with: start it anew",
    "rounds": "a size is run once",
    "steps": "nothing is timed",
    "dry_run": "--device estimate searches without running anything",
}


def print_largest(options: Options, written: Mapping[str, Any]) -> int:
    """Search, print, and write a result file; returns the exit code.

    Args:
        options: what was asked for.
        written: the options on the command line, by the name of their parameter.

    Raises:
        FfprofError: something cannot be meant, or nothing could be found out.
    """
    grown = _asked(options, written)
    with _prepared(options, grown) as request:
        outcome = find_capacities(request, LineProgress())
    record, interrupt = outcome.record, outcome.interrupt
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    if record.capacities:
        print_document(capacity_document(record), console := OutputConsole())
        console.print()
        notices.print(f"written to {request.path}", markup=False)
    if outcome.stopped:
        left = len(request.workloads) - len(record.capacities)
        kept = "" if record.capacities else "; nothing was found or written"
        notices.print(f"stopped early: {outcome.stopped}; workloads left: {left}{kept}")
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(_says_something(one) for one in record.capacities):
        raise NothingMeasuredError(
            "no size of any workload could be tried",
            "read why above" if record.capacities else "raise --run-limit",
        )
    return 0


def _says_something(one: Capacity) -> bool:
    return any(tried.outcome in ("ok", "oom") for tried in one.tried)


def _asked(options: Options, written: Mapping[str, Any]) -> Grown:
    """What is to grow; what contradicts it is refused by name."""
    chosen = [name for name in ("max_batch", "max_depth") if written.get(name)]
    option = f"--{chosen[0].replace('_', '-')}"
    if len(chosen) > 1:
        raise UsageError("--max-batch and --max-depth do not go together", "ask one after another")
    for name, why in _OF_AUDITS.items():
        if name in written:
            raise UsageError(f"{option} does not go with --{name.replace('_', '-')}", why)
    if options.device == "cpu":
        raise UsageError(
            f"{option} looks for where a GPU's memory ends, and --device cpu has no such budget",
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
                f"{one.id} feeds itself, so its {grown} cannot be changed from here",
                "leave it out of --workloads",
            )


class LineProgress:
    """One line on a terminal's standard error, and nothing elsewhere."""

    def __init__(self) -> None:
        self._shown, self._head = sys.stderr.isatty(), ""

    def proposes(self, workload: str, number: int, total: int) -> None:
        """See ``CapacityProgress``."""
        self._head = f"{number + 1} of {total}: {workload}"
        self._draw(f"{self._head}: estimating")

    def tries(self, workload: str, size: int, low: int, high: int | None) -> None:
        """See ``CapacityProgress``."""
        known = [f"{low:,} fits"] if low else []
        known += [f"{high:,} does not"] if high is not None else []
        self._draw(f"{self._head}: running {size:,}{''.join(f', {k}' for k in known)}")

    def ends(self) -> None:
        """See ``CapacityProgress``."""
        self._draw("")

    def _draw(self, text: str) -> None:
        if self._shown:
            room = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{text[:room]}", end="", file=sys.stderr, flush=True)
