"""What a baseline holds, measured or estimated again for a check."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ffprof.cli.progress import progress_for
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.check.rerun import _prepared
from ffprof.experiments.request import Request
from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Record
from ffprof.records.files import prepare_folder, writing


def run_again(
    baseline: Record,
    baseline_path: Path,
    out: Path | None = None,
    *,
    rounds: int | None = None,
    time_limit: float | None = None,
    run_limit: float | None = None,
    workload_files: Sequence[Path] = (),
    card_files: Sequence[Path] = (),
    data: str | None = None,
    on_foreign: Policy = "warn",
) -> Record:
    """Make the audit of a baseline again and return its record; progress goes to stderr.

    Recipe, rows, budget and kind of evidence are the baseline's. What registers the rows and what
    is in workload files is read as it is now. Rows that are gone are left out and noted; whether
    any trial gave a number is for the caller to see.

    Args:
        baseline: the record.
        baseline_path: its file, for messages.
        out: the folder of the new result file; None keeps none.
        rounds: instead of the baseline's; an estimate has one.
        time_limit: seconds of a trial, instead of the baseline's.
        run_limit: seconds of all; what is done by then is returned. Without, there is none.
        workload_files: instead of those that the baseline names.
        card_files: profiles of the user's own, for a baseline on such a card.
        data: what ``--data`` means, where the baseline's images lie elsewhere now.
        on_foreign: what to do about processes of others on the GPU.

    Raises:
        DeviceError: the baseline was measured on a GPU, and there is none of its kind.
        UsageError: its rows or its card are not known here, or this machine has fewer processors
            than it measured with.
        DataError: its images are gone, or are others.
        StoreError: the result cannot be written.
        KeyboardInterrupt: as it came, after what is done was stored.
    """
    changes = {"rounds": rounds, "trial_limit_seconds": time_limit}
    plan = baseline.plan.model_copy(
        update={name: value for name, value in changes.items() if value is not None}
        | {"run_limit_seconds": run_limit}
    )
    with _folder(out) as folder:
        request_for = _prepared(
            baseline, baseline_path, folder, plan, workload_files, card_files, data, on_foreign
        )
        with request_for as request, writing(request.path):
            return _run(request, kept=out is not None)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        prepare_folder(out)
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="ffprof-") as folder:
        yield Path(folder)


def _run(request: Request, *, kept: bool) -> Record:
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    outcome = run_audit(request, progress_for(Console(stderr=True)))
    record = outcome.record
    if request.device == "cuda" and request.target is None and (problem := remember(record)):
        notices.print(problem, markup=False)
    if kept and (record.trials or record.ledger):
        notices.print(f"written to {request.path}", markup=False)
    if outcome.stopped:
        missing = len(record.missing())
        notices.print(f"stopped early: {outcome.stopped}; missing trials: {missing}")
        if kept and record.trials and request.target is None:
            file = shlex.quote(str(request.path))
            notices.print(f"go on with: ffprof run --resume {file}", markup=False)
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return record
