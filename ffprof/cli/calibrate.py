"""``ffprof calibrate``: how noisy this machine is, and the smallest change that it lets one see.

It is an audit of the same code in both arms.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from ffprof.analysis.calibration import FEWEST_ROUNDS, calibration_of
from ffprof.cli.common_options import (
    BACKBONE,
    BATCH,
    DATA,
    DATA_WORKERS,
    DOWNLOAD,
    IMAGE_SIZE,
    MEMORY_FORMAT,
    MICRO_BATCH,
    NORM,
    ON_FOREIGN,
    PRECISION,
    PRESET,
    SEED,
    STEPS,
    THREADS,
    TIME_LIMIT,
    WIDTH,
    WORKLOAD_FILE,
    OnForeign,
    written_options,
)
from ffprof.cli.interrupts import Terminated, end_when_asked, interrupt_code
from ffprof.cli.progress import progress_for
from ffprof.errors import DeviceError, RecordError, UsageError, one_line
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.plan import prepare
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.options import Options
from ffprof.experiments.request import Request
from ffprof.experiments.session import path_beside, started
from ffprof.hardware.calibrations import keep_calibration
from ffprof.hardware.environment import child_environment
from ffprof.hardware.machine import describe_machine, fingerprint
from ffprof.records.audit import Device, Record
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.files import prepare_folder
from ffprof.records.store import find_record, load, save_frontier
from ffprof.report.calibration import calibration_document
from ffprof.report.exporters.terminal import OutputConsole, print_document


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


def calibrate(
    context: typer.Context,
    preset: str = PRESET,
    workloads: str = typer.Option(
        None,
        help="core, all, or ids separated by commas; by default core, and all of --workload-file. "
        "With --from, ids of that audit.",
    ),
    workload_file: list[Path] = WORKLOAD_FILE,
    device: _Device = typer.Option(
        _Device.auto, help="Where to measure; auto is the GPU if there is one."
    ),
    rounds: int = typer.Option(
        10, max=1000, help="Trials of each workload, an even number; false alarms need 10 or more."
    ),
    backbone: str = BACKBONE,
    width: float = WIDTH,
    norm: str = NORM,
    image_size: int = IMAGE_SIZE,
    batch: int = BATCH,
    micro_batch: int = MICRO_BATCH,
    precision: str = PRECISION,
    memory_format: str = MEMORY_FORMAT,
    data: str = DATA,
    data_workers: int = DATA_WORKERS,
    download: bool = DOWNLOAD,
    seed: int = SEED,
    threads: int = THREADS,
    steps: int = STEPS,
    on_foreign: OnForeign = ON_FOREIGN,
    time_limit: float = TIME_LIMIT,
    run_limit: float = typer.Option(
        None, min=0.1, help="Seconds the measuring may take; what is done by then is kept."
    ),
    out: Path = typer.Option(Path("audits"), help="Folder for the result files."),
    from_file: Path = typer.Option(
        None,
        "--from",
        help="Measure nothing: calibrate from the result file of an audit.",
        readable=False,
    ),
) -> None:
    """Measure the noise of this machine: which changes can be seen.

    An audit in which nothing changes: every other round is compared with those between. Writes the
    audit and the calibration, and keeps it for later runs on this machine.
    """
    from ffprof.experiments.options import Options

    check_options(written_options(context))
    end_when_asked()
    if from_file is not None:
        raise typer.Exit(from_audit(from_file, out, workloads))
    changes = {
        "backbone": backbone,
        "width": width,
        "norm": norm,
        "image_size": image_size,
        "batch": batch,
        "micro_batch": micro_batch,
        "precision": precision,
        "memory_format": memory_format,
        "data_workers": data_workers,
        "seed": seed,
        "threads": threads,
        "steps": steps,
    }
    options = Options(
        preset=preset,
        workloads=workloads,
        workload_files=tuple(workload_file),
        device=device.value,
        gpu_mem=None,
        card=None,
        rounds=rounds,
        changes=changes,
        data=data,
        download=download,
        time_limit=time_limit,
        run_limit=run_limit,
        out=out,
        on_foreign=on_foreign.value,
        estimates=False,
    )
    raise typer.Exit(measure(options))


NOT_CALIBRATED = 3
_WITH_FROM = {"from_file", "workloads", "out"}


def measure(options: Options) -> int:
    """Measure, calibrate, print, keep; returns the exit code.

    Raises:
        FfprofError: nothing can be measured like this, or a row failed.
    """
    check_rounds(options.rounds)
    with prepare(options) as requests:
        (request,) = requests
        _check_rows(request)
        notices = _notices()
        outcome = run_audit(request, progress_for(Console(stderr=True)))
        interrupt = outcome.interrupt
        problem = remember(outcome.record) if request.device == "cuda" else ""
        if isinstance(interrupt, Terminated) and interrupt.hung_up:
            return interrupt_code(interrupt)
        if problem:
            notices.print(problem, markup=False)
        path = shlex.quote(str(request.path))
        if outcome.stopped:
            written = bool(outcome.record.trials or outcome.record.ledger)
            kept = "" if written else "; nothing was measured or written"
            missing = len(outcome.record.missing())
            notices.print(f"stopped early: {outcome.stopped}; missing trials: {missing}{kept}")
            if written:
                notices.print(
                    f"go on with: ffprof run --resume {path}, then ffprof calibrate --from {path}",
                    markup=False,
                )
            return NOT_CALIBRATED if interrupt is None else interrupt_code(interrupt)
        notices.print(f"written to {request.path}", markup=False)
        return _calibrate(request.path, path_beside(request, "calibration"), None, here=True)


def from_audit(file: Path, out: Path, workloads: str | None) -> int:
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
    return _calibrate(audit, path, names, here=False)


def check_options(written: dict[str, Any]) -> None:
    """Options that go with ``--from``.

    Raises:
        UsageError: one that does not.
    """
    for other in written if "from_file" in written else ():
        if other not in _WITH_FROM:
            raise UsageError(
                f"--from does not go with --{other.replace('_', '-')}",
                "nothing is measured; leave one of them out",
            )


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
        with started(record.recipe, dry_run=True) as (_, found):
            machine = describe_machine(found, child_environment(record.recipe))
    except DeviceError:  # without torch it cannot be told
        return "the machine it was measured on"
    if fingerprint(machine, device) == fingerprint(record.machine, device):
        return "this machine"
    return "the machine it was measured on, which is another one or has other versions"


def _calibrate(audit: Path, path: Path, names: list[str] | None, *, here: bool) -> int:
    record = load(audit)
    try:
        digest = hashlib.sha256(audit.read_bytes()).hexdigest()
    except OSError as error:
        raise RecordError(
            f"cannot read {audit}: {error.strerror or error}", "calibrate again"
        ) from error
    command = shlex.join(["ffprof", *sys.argv[1:]])[:4000]
    made = calibration_of(
        record, audit=audit.name[:255], sha256=digest, command=command, workloads=names
    )
    save_frontier(made, path)
    _print(made, path, "this machine" if here else _whose(record))
    return 0


def _print(made: CalibrationRecord, path: Path, whose: str) -> None:
    kept, problem = keep_calibration(made)
    console, notices = OutputConsole(), _notices()
    print_document(calibration_document(made), console)
    console.print()
    notices.print(one_line(f"written to {path}"), markup=False)
    notices.print(problem or one_line(f"kept for {whose}, in {kept}"), markup=False)


def _ids(words: str) -> list[str]:
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise UsageError("--workloads names no workload", "write ids of the audit")
    return names


def _notices() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)
