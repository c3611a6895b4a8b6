"""The report of a result file, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Callable

from ffprof.errors import UsageError
from ffprof.records.audit import Record
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.frontier import FrontierRecord
from ffprof.report.audit import make_document
from ffprof.report.calibration import calibration_document
from ffprof.report.capacity import capacity_document
from ffprof.report.document import Document

_OF_KIND: dict[str, Callable[[FrontierRecord], Document]] = {"capacity": capacity_document}


def document_of(record: Record | FrontierRecord | CalibrationRecord) -> Document:
    """The report of an audit, of a search for the largest sizes, or of a calibration.

    Raises:
        UsageError: what the file holds has no report.
    """
    if isinstance(record, Record):
        return make_document(record)
    if isinstance(record, CalibrationRecord):
        return calibration_document(record)
    if record.kind not in _OF_KIND:
        raise UsageError(f"there is no report of a {record.kind}", "print it with --format json")
    return _OF_KIND[record.kind](record)


def json_of(record: Record | FrontierRecord | CalibrationRecord) -> str:
    """The record as JSON in which nothing is left that a terminal might obey."""
    text = record.model_dump_json(indent=1)
    # Outside of strings there are only line feeds.
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
