"""A result of any kind, as it was requested: as a table, as Markdown or as JSON."""

from __future__ import annotations

import sys

from ffprof.cli.common_options import Format
from ffprof.cli.output.console import print_json
from ffprof.records.store import AnyRecord
from ffprof.report.document import Document
from ffprof.report.kinds import document_of, json_of


def print_result(record: AnyRecord, format: Format) -> None:
    """Print a record; several of them as JSON are one value after the other."""
    if format == "json":
        print_json(json_of(record))
    else:
        print_document(document_of(record), format)


def print_document(document: Document, format: Format) -> None:
    """Print a report as a table, or as Markdown."""
    if format == "markdown":
        from ffprof.report.exporters.markdown import render

        sys.stdout.write(render(document))
    else:
        from ffprof.report.exporters.terminal import OutputConsole, print_document

        print_document(document, OutputConsole())
