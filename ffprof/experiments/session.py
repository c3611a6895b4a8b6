"""What every experiment starts from: the server of its children, the probe, what was requested.

What is new and what is resumed start alike. Frontiers and searches for the largest size take over
the rest from an audit of the same options.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Literal, cast

from ffprof.errors import DeviceError, UsageError
from ffprof.estimator.target import check_room, with_display
from ffprof.experiments.options import BudgetChoice, Options, choose_budget
from ffprof.experiments.request import Request
from ffprof.experiments.selection import (
    Selection,
    choose_recipe,
    choose_with_files,
    choose_workloads,
    read_sources,
)
from ffprof.hardware.environment import SLEEP, WAITING, child_environment, environment
from ffprof.hardware.machine import Probe, describe_machine
from ffprof.hardware.neighbours import watch
from ffprof.harness.data.discovery import complete, look_at
from ffprof.harness.data.source import DataSet, parse_data
from ffprof.harness.process.calls import ask_child
from ffprof.harness.process.child import start_context
from ffprof.harness.process.guard import Guard, Policy
from ffprof.harness.process.streams import say, waiting_for
from ffprof.harness.worker import probe_child
from ffprof.nulldevice import is_in_use
from ffprof.nulldevice.relaunch import may_fork
from ffprof.records.audit import Device, Machine
from ffprof.records.frontier import FrontierRecord
from ffprof.records.recipe import Recipe
from ffprof.workload import Description

Kind = Literal["cuda", "cpu", "estimate"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where children are forked from, what torch finds here, and the variables of trials.

    ``crowd`` says that other programs kept the machine busy, if they did. If they took half of it,
    threads that wait for each other sleep, in all trials: those that spin would take the processor
    from those that they wait for.
    """

    server: BaseContext
    found: Probe
    variables: dict[str, str | None]
    crowd: str = ""

    def machine(
        self, variables: dict[str, str | None] | None = None, *, on_gpu: bool = False
    ) -> Machine:
        """This machine as records describe it, with the variables of trials if they are others.

        ``on_gpu``: trials run on CUDA, which here may be a null device.
        """
        machine = describe_machine(self.found, self.variables if variables is None else variables)
        return machine.model_copy(update={"null_device": on_gpu and is_in_use()})

    def environment(self, recipe: Recipe) -> dict[str, str | None]:
        """The variables of a recipe's trials, which this session's server has already."""
        kept = {WAITING: self.variables[WAITING]} if WAITING in self.variables else {}
        return child_environment(recipe) | kept

    def context(self, device: Device) -> BaseContext:
        """How trials are started: forking a server that imported torch is unproved with CUDA."""
        forked = device == "cpu" or may_fork()
        return self.server if forked else start_context("spawn")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything that was requested, looked up.

    ``kinds`` are the kinds of evidence that it leads to; ``recipe`` is that of the first.
    """

    options: Options
    session: Session
    kinds: tuple[Kind, ...]
    chosen: Selection
    data: DataSet | None
    budget: BudgetChoice
    recipe: Recipe


# Of a dry run's children: what a workload file imports from next to it is not compiled to a file.
_TRACELESS: dict[str, str | None] = {"PYTHONDONTWRITEBYTECODE": "1"}


_LOOK_SECONDS = 0.25  # at other programs, before the server starts
# Of all processors, taken by others: threads that wait sleep from here on. On an idle machine that
# costs small recipes a quarter of their speed (benchmarks/bench_waiting.py); a choice.
_SLEEP_FROM = 0.5


def _waiting(recipe: Recipe, begun: Machine | None) -> tuple[dict[str, str | None], str]:
    """What threads do that wait for each other, if not as usual, and who keeps the machine busy.

    What is ``begun`` goes on as it was begun, and what the user has set stands.
    """
    if recipe.threads == 1 or WAITING in os.environ:
        return {}, ""
    if begun is not None:
        slept = begun.environment.get(WAITING) == SLEEP
        return ({WAITING: SLEEP} if slept else {}), ""
    crowd = watch("at the start")
    time.sleep(_LOOK_SECONDS)
    found = crowd()
    return ({WAITING: SLEEP} if found.share >= _SLEEP_FROM else {}), found.told


@contextmanager
def open_session(
    recipe: Recipe, *, dry_run: bool = False, begun: Machine | None = None
) -> Iterator[Session]:
    """Start the server that children are forked from, and ask one of them what torch finds.

    The server keeps the environment that it is started in, so it starts in that of the trials,
    which lasts as long as this context.

    Args:
        recipe: decides the variables.
        dry_run: nothing is measured.
        begun: the machine as it was when what goes on here was begun, or what this is held
            against: threads wait as they did there.

    Raises:
        DeviceError: torch cannot be started.
    """
    waiting, busy = ({}, "") if dry_run else _waiting(recipe, begun)
    variables = child_environment(recipe) | waiting
    with environment({**variables, **_TRACELESS} if dry_run else variables):
        crowd = watch("while PyTorch started")
        with waiting_for("starting PyTorch"):
            server = start_context("forkserver")
            found, reason = ask_child(server, probe_child, Probe)
        if found is None:
            raise DeviceError(
                f"torch cannot be started ({reason})", "ffprof doctor says what to do"
            )
        told = busy or crowd().told
        if told and not dry_run and sys.stderr.isatty():
            say(told)
        yield Session(server=server, found=found, variables=variables, crowd=told)


@contextmanager
def set_up(options: Options, default: str = "core") -> Iterator[Setup]:
    """Look up what was requested: words, data, budget and recipe, then what only a child can tell.

    What is wrong with the recipe is said before a process is started. It is made again only if the
    child told something that it depends on.

    Args:
        options: what was requested.
        default: the workloads where none are named, beside those of files.

    Raises:
        FfprofError: something cannot be meant, or is not there.
    """
    words = options.workloads
    sources = read_sources(options.workload_files)
    # What is in a file is known only once it was loaded, and that needs a process.
    named = () if sources else choose_workloads(default if words is None else words)
    data_words = None if options.data is None else parse_data(options.data)
    asked = choose_budget(options.gpu_mem, options.card, options.card_files)
    if options.device != "cpu":
        check_room(with_display(asked.budget) if options.display else asked.budget, asked.card)
    seen = data = look_at(data_words, options.download)
    device, recipe = _first_recipe(options, named, seen)
    with open_session(recipe, dry_run=options.dry_run) as session:
        chosen = Selection(workloads=named, files=())
        if sources:
            chosen = choose_with_files(words, sources, session.server, options.time_limit, default)
        kinds = _kinds(options, session.found)
        if seen:
            look_only = options.dry_run or kinds[0] == "estimate"
            data = complete(seen, session.server, options.download, say, look_only=look_only)
        found: Device = "cpu" if kinds[0] == "cpu" else "cuda"
        if (found, data, chosen.workloads) != (device, seen, named):
            recipe = choose_recipe(options, chosen.workloads, found, data)
        yield Setup(
            options=options,
            session=session,
            kinds=kinds,
            chosen=chosen,
            data=data,
            budget=asked,
            recipe=recipe,
        )


def _first_recipe(
    options: Options, named: tuple[Description, ...], data: DataSet | None
) -> tuple[Device, Recipe]:
    """The recipe, and the device whose preset it is of, before it is known which devices there are.

    Where either will do, what is wrong for one of them may be right for the other.
    """
    tried: dict[str, tuple[Device, ...]] = {"cpu": ("cpu",), "auto": ("cuda", "cpu")}
    errors = []
    for device in tried.get(options.device, ("cuda",)):
        try:
            return device, choose_recipe(options, named, device, data)
        except UsageError as error:
            errors.append(error)
    raise errors[0]


def _kinds(options: Options, found: Probe) -> tuple[Kind, ...]:
    asked = options.device
    if asked == "cuda" and not found.cuda:
        raise DeviceError(
            f"--device cuda: {found.reason}",
            f"use --device cpu{' or estimate' if options.estimates else ''}, or check the NVIDIA "
            "driver",
        )
    if asked != "auto":
        return (cast(Kind, asked),)
    if found.cuda:
        return ("cuda",)
    return ("estimate", "cpu") if options.estimates else ("cpu",)


def record_beside(
    audit: Request, kind: Literal["frontier", "capacity"], **more: Any
) -> FrontierRecord:
    """A record that is begun like the audit's; ``more`` are its own fields."""
    record = audit.record
    return FrontierRecord(
        kind=kind,
        created=record.created,
        ffprof=record.ffprof,
        command=record.command,
        recipe=record.recipe,
        budget=record.budget,
        machine=record.machine,
        evidence=record.evidence,
        files=record.plan.files,
        **more,
    )


def path_beside(audit: Request, kind: Literal["frontier", "capacity", "calibration"]) -> Path:
    """The file of the audit, named for the other kind."""
    return audit.path.with_name(audit.path.name.replace("audit-", f"{kind}-", 1))


def guard_over(audit: Request, policy: Policy) -> Guard:
    """Over the GPU that is measured on, if any is."""
    if audit.device == "cpu" or audit.target is not None:
        return Guard(None)
    return Guard(audit.record.machine.gpu_uuid, policy, say=say)
