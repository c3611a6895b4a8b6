"""``ffprof run``: the audit. Parses, checks everything that can be checked, runs, prints.

With ``--max-batch`` or ``--max-depth``, the largest size of every workload that fits.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import typer

from ffprof.cli.common_options import (
    BUDGET,
    CUT,
    FORMAT,
    FULL,
    MEASURING,
    MODEL,
    RELATIVE_TO,
    Device,
    Format,
    takes,
    written_options,
)
from ffprof.cli.interrupts import end_when_asked
from ffprof.experiments.options import Options


@takes("preset", "workloads", "workload_files", *MODEL, *CUT, *BUDGET, *MEASURING)
def run(
    context: typer.Context,
    options: Options,
    device: Device = typer.Option(
        "auto",
        help="Device to measure on; estimate measures nothing. Without a GPU, auto estimates the "
        "recipe for the card, and measures preset small here.",
    ),
    engine: Literal["trace", "null"] = typer.Option(
        "trace",
        help="Of --device estimate: trace the step, or run PyTorch's own CUDA code on a card that "
        "is not there (null): memory as its own allocator takes it, and no speed.",
    ),
    rounds: int = typer.Option(
        3, min=1, max=1000, help="Trials of each workload; throughput gets verdicts at 5, 9 and 15."
    ),
    looks: bool = typer.Option(
        False,
        "--looks",
        help="Take 5 rounds, and 9 and 15 while a claim on throughput is undecided.",
    ),
    resume: Path = typer.Option(
        None,
        help="Resume this unfinished result file, or the newest one in this folder.",
        readable=False,  # said by who reads it, in one line
    ),
    max_batch: bool = typer.Option(
        False, "--max-batch", help="Only search for the largest micro-batch that fits the budget."
    ),
    max_depth: bool = typer.Option(
        False, "--max-depth", help="Only search for the largest depth of flat-D-W that fits."
    ),
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help="Print the plan with a forecast, for which each row takes a step; write nothing.",
    ),
    format: Format = FORMAT,
    full: bool = FULL,
    relative_to: str = RELATIVE_TO,
) -> None:
    """Measure workloads under one recipe and print the table.

    Writes one result file, complete after every trial. What is not given comes from the preset.
    """
    written = written_options(context)
    if looks:
        rounds = _first_look(written)
    options = replace(options, device=device, rounds=rounds, dry_run=dry_run)
    end_when_asked()
    searches = max_batch or max_depth
    if engine == "null" and (searches or resume is None):  # an audit's file says how it goes on
        from ffprof.experiments.audit.emulation import on_null_device

        options = on_null_device(options, written)
    if searches:
        from ffprof.cli.output.capacity import print_largest

        raise typer.Exit(print_largest(options, written, format))
    if format != "table" and (dry_run or (relative_to and format == "json")):
        from ffprof.errors import UsageError

        if dry_run:
            raise UsageError("a plan has the format table only", "leave --format or --dry-run out")
        raise UsageError("--relative-to has the formats table and markdown", "choose one of them")
    from ffprof.analysis.ratios import check_row
    from ffprof.experiments.selection import choose_workloads

    if relative_to and resume is None and not options.workload_files:
        chosen = choose_workloads("core" if options.workloads is None else options.workloads)
        check_row(relative_to, [one.id for one in chosen])
    from ffprof.cli.output.audit import Printed, run_all
    from ffprof.experiments.audit.plan import prepare
    from ffprof.experiments.audit.resume import resumed

    started = time.monotonic()
    given = {name: written[name] for name in written if name not in _OF_OUTPUT}
    if resume is not None:
        from ffprof.experiments.audit.emulation import on_device_of
        from ffprof.experiments.audit.resume import find_unfinished
        from ffprof.records.store import load

        begun = find_unfinished(resume, written.get("rounds"))
        on_device_of(load(begun), begun)
        resume = begun
    opened = prepare(options) if resume is None else resumed(resume, given, dry_run=dry_run)
    with opened as requests:
        for request in requests if relative_to else ():
            check_row(relative_to, request.record.plan.workloads)
        if dry_run and any(request.record.missing() for request in requests):
            from ffprof.cli.output.plan import print_plans

            print_plans(requests, time.monotonic() - started, looks=looks)
            return
        code = run_all(requests, Printed(format, full, relative_to or ""), looks=looks)
    raise typer.Exit(code)


_OF_OUTPUT = ("resume", "dry_run", "format", "full", "relative_to")  # what contradicts no record


def _first_look(written: dict[str, Any]) -> int:
    """The rounds that ``--looks`` begins with; nothing else may say how many there are."""
    from ffprof.analysis.statistics.looks import LOOKS
    from ffprof.errors import UsageError

    if "rounds" in written:
        raise UsageError("--looks and --rounds both say how many rounds", "leave one of them out")
    if "resume" in written:
        raise UsageError("--looks begins an audit", "raise --rounds to the next look to go on")
    for name in ("max_batch", "max_depth"):
        if name in written:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--looks is for audits, and {option} is none", "leave one out")
    for option, value in (("device", "estimate"), ("engine", "null")):
        if written.get(option) == value:
            raise UsageError(
                f"--looks takes rounds, and --{option} {value} measures none",
                "leave one of them out",
            )
    return LOOKS[0]
