"""``ffprof verify``: whether a result file agrees with itself, and how to make it again."""

from __future__ import annotations

from pathlib import Path

import typer

from ffprof.cli.common_options import FORMAT, Format


def verify(
    file: Path = typer.Argument(help="A result file, or a folder that holds one.", readable=False),
    format: Format = FORMAT,
) -> None:
    """Check that a result file is as it was written and agrees with itself.

    Checks its digest and the hash of its recipe, whether its figures are possible, and whether its
    verdicts and largest sizes follow from its trials. Prints the command that makes it again.

    Exits with 0 if nothing contradicts anything, and 2 if something does or it cannot be read.
    """
    from ffprof.analysis.contradictions import checks_of
    from ffprof.cli.output.console import print_json
    from ffprof.cli.output.result import print_document
    from ffprof.errors import RecordError
    from ffprof.experiments.reproduction import reproduction_of
    from ffprof.records.store import RESULT_FILES, find_record, read_any
    from ffprof.report.verification import Verification, verification_document, verification_json

    path = find_record(file, RESULT_FILES)
    reading = read_any(path)
    made = reproduction_of(reading.record)
    found = Verification(
        file=str(path),
        checks=checks_of(reading),
        command=made.command,
        made_with=made.made_with,
        notes=made.notes,
    )
    if format == "json":
        print_json(verification_json(found))
    else:
        print_document(verification_document(found), format)
    if not found.holds:
        raise RecordError(f"{path} contradicts itself", "restore it, or make it again")
