"""``ffprof doctor``: what is wrong with this machine for measuring, and what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import typer

from ffprof.cli.common_options import FORMAT

EXIT_NOTHING_MEASURABLE = 3


def doctor(
    device: Literal["auto", "cuda", "cpu"] = typer.Option("auto", help="Device to measure on."),
    fix: bool = typer.Option(
        False, "--fix", help="Print commands that fix the problems; none is run."
    ),
    format: Literal["table", "json"] = FORMAT,
    out: Path = typer.Option(Path("audits"), help="Folder for results, to be checked."),
) -> None:
    """Find what disturbs measurements here, and how to fix it.

    Checks software, GPU, memory, processor and variables. The first time, a null device is compiled
    into your cache, which takes about ten seconds.
    """
    from ffprof.cli.output.console import Notices, print_json
    from ffprof.cli.output.doctor import ask_children, print_findings, to_json, to_script
    from ffprof.experiments.selection import choose_preset
    from ffprof.hardware.doctor.diagnosis import collect, diagnose
    from ffprof.hardware.environment import child_environment
    from ffprof.nulldevice.proof import prove

    def say(text: str) -> None:
        if sys.stderr.isatty():
            Notices().print(text)

    say("starting PyTorch ...")
    wanted = child_environment(choose_preset(None, "cpu").recipe)
    facts = collect(
        device,
        out,
        lambda: ask_children(wanted),
        frozenset(wanted),
        try_null_device=lambda: prove(say),
    )
    diagnosis = diagnose(facts)
    if format == "json":
        print_json(to_json(diagnosis))
    elif fix:
        sys.stdout.write(to_script(diagnosis))
    else:
        from ffprof.report.exporters.terminal import OutputConsole

        print_findings(diagnosis, OutputConsole())
    raise typer.Exit(EXIT_NOTHING_MEASURABLE if diagnosis.count("bad") else 0)
