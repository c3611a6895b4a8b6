"""From options to requests: probe the machine, choose what to measure and what to estimate.

What is new and what is gone on with start alike: the server, the probe, trials. Frontiers and
searches for the largest size take over the rest from an audit of the same options.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Literal, cast

from ffprof.errors import DeviceError
from ffprof.estimator.target import check_room, with_display
from ffprof.experiments.options import AskedBudget, Options, asked_budget
from ffprof.experiments.request import Request
from ffprof.experiments.selection import (
    Chosen,
    asked_recipe,
    choose_with_files,
    choose_workloads,
    read_sources,
)
from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import Probe
from ffprof.harness.data.discovery import complete, look_at
from ffprof.harness.data.source import Found, parse_data
from ffprof.harness.process.calls import ask_child
from ffprof.harness.process.child import start_context
from ffprof.harness.process.guard import Guard, Policy
from ffprof.harness.worker import probe_child
from ffprof.records.audit import Device
from ffprof.records.frontier import FrontierRecord
from ffprof.records.recipe import Recipe

Kind = Literal["cuda", "cpu", "estimate"]


@dataclass(frozen=True, kw_only=True)
class Start:
    """What all requests of one command start from."""

    options: Options
    chosen: Chosen
    data: Found | None
    asked: AskedBudget
    found: Probe
    server: BaseContext


# Of a dry run's children: what a workload file imports from beside it is not compiled to a file.
_TRACELESS: dict[str, str | None] = {"PYTHONDONTWRITEBYTECODE": "1"}


def say(text: str) -> None:
    """One line of progress, beside the output."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def started(recipe: Recipe, *, dry_run: bool) -> Iterator[tuple[BaseContext, Probe]]:
    """The server that children are forked from, and what torch finds, asked of a child.

    The server keeps the environment that it is started in, so it starts in that of the trials,
    which lasts as long as this context.

    Raises:
        DeviceError: torch cannot be started.
    """
    if sys.stderr.isatty():
        say("starting PyTorch ...")
    wanted = child_environment(recipe)
    with environment({**wanted, **_TRACELESS} if dry_run else wanted):
        server = start_context("forkserver")
        found, reason = ask_child(server, probe_child, Probe)
        if found is None:
            raise DeviceError(
                f"torch cannot be started ({reason})", "ffprof doctor says what to do"
            )
        yield server, found


def trial_context(server: BaseContext, device: Device) -> BaseContext:
    """How trials are started: forking a server that has imported torch is unproved with CUDA."""
    return server if device == "cpu" else start_context("spawn")


@contextmanager
def begun(options: Options) -> Iterator[tuple[Start, tuple[Kind, ...]]]:
    """Everything that was asked for, looked up, and what kinds of evidence it leads to.

    Raises:
        FfprofError: something cannot be meant, or is not there.
    """
    words = options.workloads
    sources = read_sources(options.workload_files)
    # What is in a file is known only once it was loaded, and that needs a process.
    named = () if sources else choose_workloads("core" if words is None else words)
    data_words = None if options.data is None else parse_data(options.data)
    asked = asked_budget(options.gpu_mem, options.card, options.card_files)
    if options.device != "cpu":
        check_room(with_display(asked.budget) if options.display else asked.budget, asked.card)
    # What is wrong with the recipe is said before a process is started for the probe.
    seen = look_at(data_words, options.download)
    first = asked_recipe(options, named, "cpu" if options.device == "cpu" else "cuda", seen)
    with started(first, dry_run=options.dry_run) as (server, found):
        chosen = Chosen(workloads=named, files=())
        if sources:
            chosen = choose_with_files(words, sources, server, options.time_limit)
        kinds = _kinds(options, found)
        data = None
        if seen:
            look_only = options.dry_run or kinds[0] == "estimate"
            data = complete(seen, server, options.download, say, look_only=look_only)
        start = Start(
            options=options, chosen=chosen, data=data, asked=asked, found=found, server=server
        )
        yield start, kinds


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
