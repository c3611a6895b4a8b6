"""``ffprof compare``: two result files, or two workloads of one; no GPU and no torch needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ffprof.cli.common_options import FORMAT, Format

if TYPE_CHECKING:
    from ffprof.records.audit import Device, Record
    from ffprof.records.store import Reading


def compare(
    first: Path = typer.Argument(help="Result file from before, or the only one.", readable=False),
    second: str = typer.Argument(
        None, help="Result file from after, or a workload of the only one."
    ),
    third: str = typer.Argument(None, help="Another workload of the only file, as the baseline."),
    format: Format = FORMAT,
) -> None:
    """Compare two results.

    Memory and speed of two result files, or of two workloads of one:
    ffprof compare FILE CHALLENGER BASELINE.
    """
    from ffprof.errors import UsageError
    from ffprof.records.store import find_record, read_any

    if third is not None:
        _require_file_first(first, second, third)
    path = find_record(first)
    reading = read_any(path)
    before = _audit(reading)
    if second is None:
        raise UsageError(
            f"there is nothing to compare {path} with",
            f"name another file, or two of its workloads: {', '.join(before.plan.workloads)}",
        )
    if third is not None:
        _two_rows(reading, second, third, format)
        return
    other = find_record(Path(second))
    if not other.exists() and second in before.plan.workloads:
        raise UsageError(
            f"{second} is a workload of {path}, and there is nothing to compare it with",
            f"name another one: ffprof compare {path} {second} BASELINE",
        )
    _two_files(reading, read_any(other), (str(path), str(other)), format)


def _audit(reading: Reading) -> Record:
    from ffprof.errors import ForeignFileError
    from ffprof.records.audit import Record

    if isinstance(reading.record, Record):
        return reading.record
    raise ForeignFileError(
        f"{reading.path} holds a {reading.record.kind!r}, not an audit", "ffprof report prints it"
    )


def _require_file_first(first: Path, second: str, third: str) -> None:
    from ffprof.errors import UsageError

    form = "ffprof compare FILE CHALLENGER BASELINE"
    if not first.exists() and Path(third).exists():
        raise UsageError(f"{first} is not a result file", f"the file comes first: {form}")
    if Path(second).exists() and Path(second).suffix:
        raise UsageError(
            f"{third} is given in addition to two files",
            f"leave it out, or compare two workloads of one file: {form}",
        )


def _two_rows(reading: Reading, challenger: str, baseline: str, format: Format) -> None:
    from ffprof.analysis.comparison import two_rows
    from ffprof.analysis.contradictions import alarms
    from ffprof.cli.output.console import print_json
    from ffprof.cli.output.result import complain_of, print_document
    from ffprof.report.audit import make_document

    record, told = _audit(reading), alarms(reading)
    found = two_rows(record, challenger, baseline)
    if format == "json":
        complain_of(told)
        verdicts = [verdict.model_dump(mode="json") for verdict in found.verdicts]
        print_json({"schema_version": 1, "kind": "verdicts", "verdicts": verdicts})
        return
    document = make_document(found)
    title = f"{challenger} against {baseline}: {record.subject}, {record.evidence}"
    print_document(replace(document, title=title, alarms=told), format)


def _two_files(
    old: Reading,
    new: Reading,
    files: tuple[str, str],
    format: Format,
) -> None:
    from ffprof.analysis.comparison import compare_records
    from ffprof.analysis.contradictions import changed
    from ffprof.cli.output.console import print_json
    from ffprof.cli.output.result import complain_of, print_document
    from ffprof.hardware.machine import compare_machines
    from ffprof.report.comparison import comparison_document, comparison_json

    before, after, told = _audit(old), _audit(new), changed((old, new))
    found = compare_records(before, after)
    device: Device = "cpu" if before.evidence == "measured (cpu)" else "cuda"
    differ = compare_machines(before.machine, after.machine, device)
    machines = (*differ.hardware, *differ.software)
    if format == "json":
        complain_of(told)
        print_json(comparison_json(found, files, machines))
        return
    document = comparison_document(found, files, machines)
    print_document(replace(document, alarms=told), format)
