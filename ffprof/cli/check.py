"""``ffprof check``: the gate of a CI job, which fails when a change costs memory or speed."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ffprof.report.checked import Checked


class CheckFormat(StrEnum):
    """How a check is written."""

    table = "table"
    markdown = "markdown"
    json = "json"
    github = "github"


class OnThroughput(StrEnum):
    """What becomes of throughput."""

    gate = "gate"
    advice = "advice"
    off = "off"


def check(
    baseline: Path = typer.Option(
        ...,
        help="What it was: a result file, or a folder with one for every recipe and torch.",
        readable=False,
    ),
    current: Path = typer.Option(
        None,
        help="What it is: a result file, or a folder, of which the newest is taken.",
        readable=False,
    ),
    thresholds: Path = typer.Option(
        None,
        help="A TOML file: how much may be lost, by metric and workload.",
        readable=False,
    ),
    budget: str = typer.Option(
        None, help="The most that any workload may take, such as 7.5GiB, whatever it took."
    ),
    throughput: OnThroughput = typer.Option(
        None,
        help="Judge speeds, only tell them, or leave them out; by default judge from 5 rounds.",
    ),
    update_baseline: bool = typer.Option(
        False, "--update-baseline", help="Make the new result the baseline, and say what changed."
    ),
    everything: bool = typer.Option(False, "--all", help="List what passed, too."),
    format: CheckFormat = typer.Option(
        CheckFormat.table, "--format", "-f", help="How to write it."
    ),
) -> None:
    """Hold a new result against a baseline.

    Exits with 0 if nothing got worse, 1 if something regressed, 3 if nothing was measured, and 4 if
    something was not measured or cannot be decided.
    """
    from ffprof.cli.checking import Asked, run_checks
    from ffprof.report.checked_formats import code_of

    checks = run_checks(
        Asked(
            baseline=baseline,
            current=current,
            thresholds=thresholds,
            budget=budget,
            throughput=None if throughput is None else throughput.value,
            update=update_baseline,
        )
    )
    _print(checks, format, everything)
    raise typer.Exit(code_of(checks))


def _print(checks: Sequence[Checked], format: CheckFormat, everything: bool) -> None:
    from ffprof.report import checked_formats as formats

    if format is CheckFormat.json:
        print(formats.checks_json(checks))
    elif format is CheckFormat.markdown:
        sys.stdout.write(formats.checks_markdown(checks, everything=everything))
    elif format is CheckFormat.github:
        print("\n".join(formats.github_lines(checks)))
        _summarise(formats.github_summary(checks))
    else:
        from ffprof.report.checked import checked_document
        from ffprof.report.terminal import OutputConsole, print_document

        console = OutputConsole()
        for number, found in enumerate(checks):
            if number:
                console.print()
            print_document(checked_document(found, everything=everything), console)


def _summarise(text: str) -> None:
    """Append to the job's summary, if this is a job that has one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(
            f"ffprof: the job's summary was not written: {error.strerror or error}",
            file=sys.stderr,
        )
