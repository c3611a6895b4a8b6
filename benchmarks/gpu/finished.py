"""Whether nothing is missing from the record of an audit, a frontier or a search.

    python benchmarks/gpu/finished.py FILE

Exit codes: 0 it is complete; 75 its time limit ended it, which is said; 1 it cannot be read.
"""

import sys
from pathlib import Path

from ffprof.errors import FfprofError
from ffprof.records.audit import Record
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.store import load_any

UNFINISHED = 75


def lacking(path: Path) -> str:
    """What a record lacks, in words; "" if nothing.

    Raises:
        RecordError: it cannot be read.
    """
    record = load_any(path)
    if isinstance(record, Record):
        missing = record.missing()
        return f"{len(missing)} trials are missing" if missing else ""
    if isinstance(record, CalibrationRecord):
        return ""  # it is written when its audit is done
    if record.stopped:
        return f"stopped early: {record.stopped}"
    if record.kind == "capacity":
        # A search that was cut says so in a note; that it proves nothing else is an answer.
        early = [note for note in record.notes if note.startswith("stopped early")]
        return early[0] if early else "" if record.capacities else "nothing was searched"
    return ""


def main() -> None:
    try:
        lacks = lacking(Path(sys.argv[1]))
    except FfprofError as error:
        print(error)
        sys.exit(1)
    if lacks:
        print(f"{sys.argv[1]} is not complete: {lacks}")
        sys.exit(UNFINISHED)


if __name__ == "__main__":
    main()
