"""One audit to be run: its recipe, its budget, what its figures are worth, and its file.

It is requested in words, or by a record that is made again. What is known of this machine's noise
is put into it before anything is measured.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath

from ffprof.errors import UsageError
from ffprof.experiments.options import Options
from ffprof.experiments.request import Request
from ffprof.experiments.selection import (
    absent_members,
    change_recipe,
    check_recipe,
    check_rounds,
    choose_preset,
    fitted_recipe,
)
from ffprof.experiments.session import Kind, Session, Setup, set_up
from ffprof.experiments.terms import Terms, terms_for
from ffprof.hardware.calibrations import kept_calibration
from ffprof.harness.data.discovery import crowding
from ffprof.harness.process.guard import Policy
from ffprof.nulldevice import is_in_use
from ffprof.records.audit import Device, Plan, Record, own_files
from ffprof.records.files import new_path, prepare_folder, writing
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded, recorded_command
from ffprof.version import __version__
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is to be found out, and under which terms; ``workloads`` are those of the plan."""

    recipe: Recipe
    plan: Plan
    workloads: tuple[Description, ...]
    device: Device
    terms: Terms


def new_request(
    audit: Audit,
    session: Session,
    out: Path,
    notes: Sequence[str | None],
    on_foreign: Policy = "warn",
) -> Request:
    """The request with a record that is empty, for a new file in ``out``; empty notes are dropped.

    Args:
        audit: what to find out.
        session: children are forked from its server.
        out: the folder, made before the request is run.
        notes: what the reader must know.
        on_foreign: what to do about processes of others on the GPU.
    """
    recipe, terms = audit.recipe, audit.terms
    wanted = session.environment(recipe)
    created = datetime.now(UTC)
    record = Record(
        created=created,
        ffprof=__version__,
        command=recorded_command(["ffprof", *sys.argv[1:]]),
        recipe=recipe,
        recipe_hash=recipe.digest(),
        plan=audit.plan,
        budget=terms.budget,
        machine=session.machine(wanted, on_gpu=audit.device == "cuda" and not terms.target),
        evidence=terms.evidence,
        notes=tuple(recorded(note) for note in notes if note),
    )
    kind = "estimated" if terms.target else audit.device
    return Request(
        record=record,
        workloads=audit.workloads,
        device=audit.device,
        path=new_path(out, "audit", f"{stem_of(recipe.preset, audit.plan)}-{kind}", created),
        context=session.server if terms.target else session.context(audit.device),
        target=terms.target,
        on_foreign=on_foreign,
        environment=wanted,
    )


def stem_of(preset: str, plan: Plan) -> str:
    """What a result file is named after: the preset, or the user's own files."""
    files = own_files(plan.workloads, plan.files)
    return "+".join(_ODD.sub("-", PurePath(name).stem).strip("-.") for name in files)[:60] or preset


_ODD = re.compile(r"[^A-Za-z0-9_.+]+")
# What of a recipe requested holds for the audit that is measured next to its estimate, too.
_OF_BOTH = ("seed", "threads", "steps")


def request_for(kind: Kind, setup: Setup, *, paired: bool = False) -> Request:
    """The request of one kind; ``paired``: it stands next to one of another kind.

    Raises:
        FfprofError: the audit is impossible.
    """
    options, workloads = setup.options, setup.chosen.workloads
    device: Device = "cpu" if kind == "cpu" else "cuda"
    recipe = setup.recipe
    if recipe.data == "teacher":
        raise UsageError(
            "--data teacher is a task to be learned: ffprof learn has it", "use --data synthetic"
        )
    if paired and kind == "cpu":
        kept = {name: options.changes.get(name) for name in _OF_BOTH}
        recipe = change_recipe(choose_preset(None, "cpu").recipe, kept)
        check_recipe(recipe, workloads)
        recipe = fitted_recipe(recipe, device, None)
    terms = terms_for(kind, setup, paired=paired)
    check_rounds(options.rounds, len(workloads), None if terms.target else recipe)
    plan = Plan(
        workloads=tuple(d.id for d in workloads),
        families={d.id: d.family for d in workloads},
        rounds=1 if terms.target else options.rounds,
        trial_limit_seconds=options.time_limit,
        run_limit_seconds=options.run_limit,
        files=setup.chosen.files,
    )
    noted = (
        *terms.notes,
        *setup.chosen.notes(recipe),
        "" if terms.target else crowding(recipe, device),
        "" if terms.target or is_in_use() else setup.session.crowd,
        absent_members(recipe, workloads),
        setup.data.note() if setup.data else "",
    )
    return new_request(
        Audit(recipe=recipe, plan=plan, workloads=workloads, device=device, terms=terms),
        setup.session,
        options.out,
        noted,
        options.on_foreign,
    )


def with_known_noise(request: Request) -> Request:
    """The request with the noise that a calibration of this machine and setting found.

    A note says so, or that what was kept is damaged. Estimates have no noise.
    """
    if request.target is not None:
        return request
    record = request.record
    found, problem = kept_calibration(record.machine, request.device, record.recipe)
    noise, notes = {}, [problem] if problem else []
    if found is not None:
        known = {row.workload: row.sd for row in found.noise}
        noise = {name: known[name] for name in record.plan.workloads if name in known}
        absent = [name for name in record.plan.workloads if name not in known]
        beside = f"; it does not know {', '.join(absent)}" if absent else ""
        if noise:
            notes.append(
                f"noise of this machine from the calibration of {found.created:%Y-%m-%d %H:%M} "
                f"UTC{beside}"
            )
    notes = [note[:1000] for note in notes]
    update = {"noise": noise, "notes": (*record.notes, *notes)}
    return replace(request, record=record.model_copy(update=update))


@contextmanager
def prepare(options: Options) -> Iterator[tuple[Request, ...]]:
    """The requests that are ready to run, in order, as long as this context lasts.

    Without a GPU, and unless told otherwise, there are two: the recipe that was requested is
    estimated for the card, and the preset for a processor is measured here.

    Raises:
        FfprofError: anything that makes the audit impossible, before anything is written.
    """
    with set_up(options) as setup:
        paired = len(setup.kinds) > 1
        requests = tuple(
            with_known_noise(request_for(kind, setup, paired=paired)) for kind in setup.kinds
        )
        if not options.dry_run:
            prepare_folder(options.out)
        with ExitStack() as locks:
            for request in () if options.dry_run else requests:
                locks.enter_context(writing(request.path))
            yield requests
