"""``ffprof doctor``: what is wrong with this machine for measuring, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ffprof.hardware.doctor.facts import ChildFacts

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
) -> None:
    """Check this machine: what would spoil measurements, and what to do about it."""
    from ffprof.cli.choose import choose_preset
    from ffprof.cli.findings import print_findings, to_json, to_script
    from ffprof.hardware.doctor.diagnose import collect, diagnose
    from ffprof.hardware.environment import child_environment

    if sys.stderr.isatty():
        print("starting PyTorch ...", file=sys.stderr)
    wanted = child_environment(choose_preset(None, "cpu").recipe)
    facts = collect(device.value, out, lambda: _ask_children(wanted), frozenset(wanted))
    diagnosis = diagnose(facts)
    if format is _Format.json:
        print(to_json(diagnosis))
    elif fix:
        sys.stdout.write(to_script(diagnosis))
    else:
        from ffprof.report.terminal import OutputConsole

        print_findings(diagnosis, OutputConsole())
    raise typer.Exit(EXIT_NOTHING_MEASURABLE if diagnosis.count("bad") else 0)


def _ask_children(wanted: dict[str, str | None]) -> ChildFacts:
    """Start children exactly as an audit does, the last of them to ask torch."""
    from ffprof.audit.probing import ask_child
    from ffprof.audit.process import start_context
    from ffprof.hardware.doctor.facts import ChildFacts, TorchFacts
    from ffprof.hardware.doctor.torch_facts import ready_child, torch_child
    from ffprof.hardware.environment import environment

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
