"""The report of a result file, whatever it holds."""

from __future__ import annotations

from ffprof.records.audit import Record
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.learning import LearningRecord
from ffprof.records.store import AnyRecord, text_of
from ffprof.report.audit import make_document
from ffprof.report.calibration import calibration_document
from ffprof.report.capacity import capacity_document
from ffprof.report.document import Document
from ffprof.report.exporters.json import safe_json
from ffprof.report.frontier import frontier_document
from ffprof.report.learning import learning_document


def document_of(record: AnyRecord) -> Document:
    """The report of a result, whatever its kind."""
    if isinstance(record, Record):
        return make_document(record)
    if isinstance(record, CalibrationRecord):
        return calibration_document(record)
    if isinstance(record, LearningRecord):
        return learning_document(record)
    return capacity_document(record) if record.kind == "capacity" else frontier_document(record)


def json_of(record: AnyRecord, digest: str | None = None) -> str:
    """The record as JSON in which nothing is left that a terminal might obey.

    ``digest`` is that of the file that it was read from, if it was.
    """
    return safe_json(text_of(record, digest).rstrip("\n"))
