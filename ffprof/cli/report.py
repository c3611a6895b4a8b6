"""``ffprof report``: a result file as a table or as Markdown, without a GPU and without torch."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ffprof.records.audit import Record
    from ffprof.records.calibration import CalibrationRecord
    from ffprof.records.frontier import FrontierRecord


class Format(StrEnum):
    """How a report is written."""

    table = "table"
    markdown = "markdown"
    json = "json"


def report(
    file: Path = typer.Argument(help="A result file, or a folder that holds one.", readable=False),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How to write it."),
    judge: bool = typer.Option(
        False, "--judge", help="Judge the claims again by the rules of this ffprof."
    ),
) -> None:
    """Print a result file of any kind again.

    Verdicts are those that it was written with, unless they are judged again.
    """
    from ffprof.records.store import RESULT_FILES, find_record, load_any
    from ffprof.report.kinds import document_of, json_of

    record = load_any(find_record(file, RESULT_FILES))
    if judge:
        record = _judged(record)
    if format is Format.json:
        print(json_of(record))
        return
    document = document_of(record)
    if format is Format.markdown:
        from ffprof.report.exporters.markdown import render

        sys.stdout.write(render(document))
    else:
        from ffprof.report.exporters.terminal import OutputConsole, print_document

        print_document(document, OutputConsole())


def _judged(record: Record | FrontierRecord | CalibrationRecord) -> Record:
    from ffprof.analysis.verdicts import judge
    from ffprof.errors import UsageError
    from ffprof.records.audit import Record

    if not isinstance(record, Record):
        raise UsageError(f"--judge: a {record.kind} makes no claims", "leave it out")
    return record.model_copy(update={"verdicts": judge(record)})
