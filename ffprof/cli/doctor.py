"""``ffprof doctor``: what is wrong with this machine for measuring, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ffprof.errors import UsageError

if TYPE_CHECKING:
    from ffprof.cli.measuring import SamplerCost
    from ffprof.hardware.doctor.facts import ChildFacts, Facts
    from ffprof.records.audit import Device

EXIT_NOTHING_MEASURABLE = 3


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


class _Format(StrEnum):
    table = "table"
    json = "json"


def doctor(
    device: _Device = typer.Option(_Device.auto, help="Where you want to measure."),
    fix: bool = typer.Option(False, "--fix", help="Print commands to put things right; run none."),
    format: _Format = typer.Option(_Format.table, "--format", "-f", help="How to write it."),
    out: Path = typer.Option(Path("audits"), help="Folder that results would go to."),
    measure: bool = typer.Option(
        False, "--measure", help="Also measure what ffprof's own look at the GPU costs."
    ),
    measure_seconds: float = typer.Option(
        60.0, "--measure-seconds", min=5.0, max=3600.0, help="How long --measure takes."
    ),
) -> None:
    """Say what would spoil measurements here, and what to do.

    Checks software, GPU, memory, processor and variables.
    """
    from ffprof.cli.findings import print_findings, to_json, to_script
    from ffprof.cli.measuring import print_cost
    from ffprof.experiments.selection import choose_preset
    from ffprof.hardware.doctor.diagnosis import collect, diagnose
    from ffprof.hardware.environment import child_environment

    if measure and fix:
        raise UsageError("--fix prints commands and measures nothing", "leave one of them out")
    if sys.stderr.isatty():
        print("starting PyTorch ...", file=sys.stderr)
    wanted = child_environment(choose_preset(None, "cpu").recipe)
    facts = collect(device.value, out, lambda: _ask_children(wanted), frozenset(wanted))
    diagnosis = diagnose(facts)
    cost = _measure(facts, measure_seconds) if measure else None
    if format is _Format.json:
        print(to_json(diagnosis, {"sampler": asdict(cost)} if cost else None))
    elif fix:
        sys.stdout.write(to_script(diagnosis))
    else:
        from ffprof.report.exporters.terminal import OutputConsole

        console = OutputConsole()
        print_findings(diagnosis, console)
        if cost:
            print_cost(cost, console)
    raise typer.Exit(EXIT_NOTHING_MEASURABLE if diagnosis.count("bad") else 0)


def _measure(facts: Facts, seconds: float) -> SamplerCost:
    """On the GPU if torch can use one and the processor was not asked for."""
    from ffprof.cli.measuring import SamplerCost, measure_cost

    torch = facts.child.torch
    device: Device = "cuda" if torch and torch.cuda and facts.asked != "cpu" else "cpu"
    if torch is None or facts.asked == "cuda" != device:
        why = "torch does not start" if torch is None else "torch can use no GPU"
        return SamplerCost(device=device, verdict="not measured", why=why)
    if sys.stderr.isatty():
        print(f"measuring for {seconds:g} s ...", file=sys.stderr)
    return measure_cost(device, seconds)


def _ask_children(wanted: dict[str, str | None]) -> ChildFacts:
    """Start children exactly as an audit does, the last of them to ask torch."""
    from ffprof.hardware.doctor.facts import ChildFacts, TorchFacts
    from ffprof.hardware.doctor.readers.pytorch import ready_child, torch_child
    from ffprof.hardware.environment import environment
    from ffprof.harness.process.calls import ask_child
    from ffprof.harness.process.child import start_context

    laps = [time.monotonic()]
    with environment(wanted):
        with _silent_children():
            context = start_context("forkserver")
        for _ in range(2):
            ready, problem = ask_child(context, ready_child, bool)
            if not ready:
                return ChildFacts(problem=problem)
            laps.append(time.monotonic())
        torch, problem = ask_child(context, torch_child, TorchFacts)
    return ChildFacts(
        torch=torch,
        problem=problem.removeprefix("exit status 1: "),
        server_seconds=laps[1] - laps[0],
        trial_seconds=laps[2] - laps[1],
    )


@contextlib.contextmanager
def _silent_children() -> Iterator[None]:
    """Processes started meanwhile have no error output: what it would say is in the findings."""
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
