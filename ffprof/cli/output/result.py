"""A result of any kind, as it was requested: as a table, as Markdown or as JSON."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ffprof.cli.common_options import Format
from ffprof.cli.output.console import print_json
from ffprof.errors import one_line
from ffprof.harness.process.streams import say
from ffprof.records.store import AnyRecord, Reading
from ffprof.report.document import Document
from ffprof.report.kinds import document_of, json_of


def print_result(record: AnyRecord, format: Format) -> None:
    """Print a record, without details; several of them as JSON are one value after the other."""
    if format == "json":
        print_json(json_of(record))
    else:
        print_document(document_of(record), format, full=False)


def print_reading(
    reading: Reading,
    record: AnyRecord,
    document: Document,
    format: Format,
    *,
    path: Path,
    full: bool,
    words: Sequence[str] = (),
) -> None:
    """Print the report of a file, or its record: what it contradicts itself in comes first.

    Args:
        reading: the file.
        record: what is printed of it: its record, or that with verdicts judged again.
        document: the report.
        format: a table, Markdown or JSON; with JSON, contradictions are on standard error.
        path: where the file is.
        full: whether a table is printed with all details.
        words: the options that it was requested with, for the command that tells more.
    """
    from ffprof.analysis.contradictions import alarms
    from ffprof.experiments.reproduction import reproduction_of
    from ffprof.report.verification import reproduction_block

    told = alarms(reading)
    if format == "json":
        complain_of(told)
        print_json(json_of(record, reading.digest if record is reading.record else ""))
        return
    made = reproduction_of(record)
    block = reproduction_block(made.command, made.made_with, made.notes)
    closing = (f"file: {path}" if full else details_of(path, words),)
    document = replace(document, alarms=told, blocks=(*document.blocks, block), closing=closing)
    print_document(document, format, full=full)


def details_of(path: Path, words: Sequence[str] = ()) -> str:
    """The command that tells more of a result, with the options that were given."""
    return f"details: {shlex.join(['ffprof', 'report', str(path), '--full', *words])}"


def complain_of(alarms: Sequence[str]) -> None:
    """What must be read first, where standard output is for programs."""
    for line in alarms:
        say(f"ffprof: {one_line(line)}")


def print_document(document: Document, format: Format, *, full: bool = True) -> None:
    """Print a report as a table, or as Markdown, which always has all details."""
    if format == "markdown":
        from ffprof.report.exporters.markdown import render

        sys.stdout.write(render(document))
    else:
        from ffprof.report.exporters.terminal import OutputConsole, print_document

        print_document(document, OutputConsole(), full=full)
