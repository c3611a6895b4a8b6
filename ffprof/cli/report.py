"""``ffprof report``: a result file as a table or as Markdown, without a GPU and without torch."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

import typer


class Format(StrEnum):
    """How a report is written."""

    table = "table"
    markdown = "markdown"
    json = "json"


def report(
    file: Path = typer.Argument(help="A result file, or a folder that holds one."),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How to write it."),
) -> None:
    """Print a recorded audit."""
    from ffprof.audit.store import find_record, load

    record = load(find_record(file))
    if format is Format.markdown:
        from ffprof.report.markdown import to_markdown

        sys.stdout.write(to_markdown(record))
    elif format is Format.json:
        print(record.model_dump_json(indent=1))
    else:
        from ffprof.report.terminal import OutputConsole, print_report

        print_report(record, OutputConsole())
