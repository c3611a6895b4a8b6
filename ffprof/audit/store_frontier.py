"""Result files of frontiers, searches for the largest size and calibrations, beside audits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ffprof.audit.reading import Contents, read_contents
from ffprof.audit.store import AGAIN, record_in, write_atomically
from ffprof.calibration_record import CALIBRATION_VERSION, CalibrationRecord
from ffprof.errors import RecordError
from ffprof.frontier_record import FRONTIER_VERSION, FrontierRecord
from ffprof.record import Record

# Names of result files of every kind; a folder stands for the newest.
RESULT_FILES = ("audit-*.json", "frontier-*.json", "capacity-*.json", "calibration-*.json")
_KINDS = ("frontier", "capacity")
_CALIBRATE = "make one with `ffprof calibrate --out DIR`"


def load_frontier(path: str | Path) -> FrontierRecord:
    """Read and validate the file of a frontier or of a search for the largest size.

    Raises:
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or something else.
    """
    return _frontier_in(read_contents(Path(path), "make one with `ffprof frontier --out DIR`"))


def load_any(path: str | Path) -> Record | FrontierRecord | CalibrationRecord:
    """Read and validate a result file of any kind.

    Raises:
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or not a record.
    """
    contents = read_contents(Path(path), AGAIN)
    if contents.kind == "calibration":
        contents = replace(contents, again=_CALIBRATE)
        return contents.as_record(CalibrationRecord, CALIBRATION_VERSION)
    return record_in(contents) if contents.kind is None else _frontier_in(contents)


def save_frontier(record: FrontierRecord | CalibrationRecord, path: Path) -> None:
    """Write a record atomically.

    Raises:
        StoreError: the folder cannot be written to.
    """
    write_atomically(path, record.model_dump_json(indent=1) + "\n")


def _frontier_in(contents: Contents) -> FrontierRecord:
    if contents.kind not in _KINDS:
        raise RecordError(
            f"{contents.path} holds neither a frontier nor a search for the largest size",
            "ffprof report prints every result file" if contents.kind is None else contents.again,
        )
    record = contents.as_record(FrontierRecord, FRONTIER_VERSION)
    if not record.points and not record.capacities:
        raise RecordError(f"{contents.path} is a {record.kind} with nothing in it", contents.again)
    return record
