"""``ffprof report``: a result file as a table or as Markdown, without a GPU and without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ffprof.cli.common_options import FORMAT, Format

if TYPE_CHECKING:
    from ffprof.records.audit import Record
    from ffprof.records.calibration import CalibrationRecord
    from ffprof.records.frontier import FrontierRecord


def report(
    file: Path = typer.Argument(help="A result file, or a folder that holds one.", readable=False),
    format: Format = FORMAT,
    judge: bool = typer.Option(
        False, "--judge", help="Judge the claims again by the rules of this version of ffprof."
    ),
) -> None:
    """Print a result file of any kind.

    Verdicts are those stored in the file, unless --judge is given.
    """
    from ffprof.cli.output.result import print_result
    from ffprof.records.store import RESULT_FILES, find_record, load_any

    record = load_any(find_record(file, RESULT_FILES))
    print_result(_judged(record) if judge else record, format)


def _judged(record: Record | FrontierRecord | CalibrationRecord) -> Record:
    from ffprof.analysis.verdicts import judge
    from ffprof.errors import UsageError
    from ffprof.records.audit import Record

    if not isinstance(record, Record):
        raise UsageError(f"--judge: a {record.kind} makes no claims", "leave it out")
    return record.model_copy(update={"verdicts": judge(record)})
