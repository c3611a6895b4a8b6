"""A calibration that is measured, or made of an audit, kept and printed."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from ffprof.analysis.calibration import FEWEST_ROUNDS, calibration_of
from ffprof.analysis.contradictions import require_as_written
from ffprof.cli.common_options import Format
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.output.console import Notices
from ffprof.cli.output.progress import progress_for
from ffprof.cli.output.result import print_result
from ffprof.errors import DeviceError, RecordError, UsageError, one_line
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.plan import prepare
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.options import Options
from ffprof.experiments.request import Request
from ffprof.experiments.session import open_session, path_beside
from ffprof.hardware.calibrations import keep_calibration
from ffprof.hardware.machine import fingerprint
from ffprof.records.audit import Device, Record
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.files import prepare_folder
from ffprof.records.redaction import recorded_command
from ffprof.records.store import find_record, load, read_any, save

NOT_CALIBRATED = 3


def measure(options: Options, format: Format) -> int:
    """Measure, calibrate, print, keep; returns the exit code.

    Raises:
        FfprofError: nothing can be measured like this, or a row failed.
    """
    check_rounds(options.rounds)
    with prepare(options) as requests:
        (request,) = (replace(one, keeps_speeds=True) for one in requests)
        _check_rows(request)
        notices = Notices()
        outcome = run_audit(request, progress_for())
        interrupt = outcome.interrupt
        problem = remember(outcome.record) if request.device == "cuda" else ""
        if isinstance(interrupt, Terminated) and interrupt.hung_up:
            return interrupt_code(interrupt)
        if problem:
            notices.print(problem)
        path = shlex.quote(str(request.path))
        if outcome.stopped:
            written = bool(outcome.record.trials or outcome.record.ledger)
            kept = "" if written else "; nothing was measured or written"
            missing = len(outcome.record.missing())
            notices.print(f"stopped early: {outcome.stopped}; missing trials: {missing}{kept}")
            if written:
                notices.print(
                    f"resume with: ffprof run --resume {path}, then ffprof calibrate --from {path}",
                )
            return NOT_CALIBRATED if interrupt is None else interrupt_code(interrupt)
        notices.print(f"written to {request.path}")
        beside = path_beside(request, "calibration")
        return _calibrate(request.path, beside, None, format, here=True)


def from_audit(file: Path, out: Path, workloads: str | None, format: Format) -> int:
    """Calibrate from an audit that was measured before, or from the newest one in a folder.

    Returns the exit code.

    Raises:
        FfprofError: it is no such audit, or the result cannot be written.
    """
    names = None if workloads is None else _ids(workloads)
    audit = find_record(file)
    prepare_folder(out)
    stem = audit.name.removeprefix("audit-").removesuffix(".json")
    path = out / f"calibration-{stem[:150]}-{os.getpid()}.json"
    return _calibrate(audit, path, names, format, here=False)


def check_rounds(rounds: int) -> None:
    """Halves must be equal, and long enough.

    Raises:
        UsageError: they are not.
    """
    if rounds % 2 or rounds < FEWEST_ROUNDS:
        raise UsageError(
            f"--rounds {rounds} is not an even number of at least {FEWEST_ROUNDS}",
            "half of the rounds is compared with the other half: use 10, or 18",
        )


def _check_rows(request: Request) -> None:
    for one in request.workloads:
        if objection := one.objection(request.record.recipe):
            raise UsageError(
                f"{one.id} cannot run: {objection}", "leave it out of --workloads, or change it"
            )


def _whose(record: Record) -> str:
    """Whose calibration that of an audit is, in words: it holds for the machine of the audit."""
    device: Device = "cpu" if record.evidence == "measured (cpu)" else "cuda"
    try:
        with open_session(record.recipe, dry_run=True) as session:
            machine = session.machine()
    except DeviceError:  # without torch it cannot be told
        return "the machine it was measured on"
    if fingerprint(machine, device) == fingerprint(record.machine, device):
        return "this machine"
    return "the machine it was measured on, which is another one or has other versions"


def _calibrate(
    audit: Path, path: Path, names: list[str] | None, format: Format, *, here: bool
) -> int:
    require_as_written(read_any(audit))
    record = load(audit)
    try:
        digest = hashlib.sha256(audit.read_bytes()).hexdigest()
    except OSError as error:
        raise RecordError(
            f"cannot read {audit}: {error.strerror or error}", "calibrate again"
        ) from error
    command = recorded_command(["ffprof", *sys.argv[1:]])
    made = calibration_of(
        record, audit=audit.name[:255], sha256=digest, command=command, workloads=names
    )
    save(made, path)
    _print(made, path, "this machine" if here else _whose(record), format)
    return 0


def _print(made: CalibrationRecord, path: Path, whose: str, format: Format) -> None:
    kept, problem = keep_calibration(made)
    notices = Notices()
    print_result(made, format)
    if format != "json":
        print()
    notices.print(one_line(f"written to {path}"))
    notices.print(problem or one_line(f"kept for {whose}, in {kept}"))


def _ids(words: str) -> list[str]:
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise UsageError("--workloads names no workload", "write ids of the audit")
    return names
