"""A learning study that is run and printed."""

from __future__ import annotations

import shlex

from ffprof.cli.common_options import Format
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.output.console import Notices
from ffprof.cli.output.progress import progress_for
from ffprof.cli.output.result import details_of, print_result
from ffprof.errors import NothingMeasuredError
from ffprof.experiments.learning.request import LearningRequest
from ffprof.experiments.learning.runner import run_study


def run_and_print(request: LearningRequest, format: Format) -> int:
    """Run what is missing and print the study; the exit code.

    Raises:
        NothingMeasuredError: no run was trained to its end.
    """
    notices = Notices()
    if not request.record.missing():
        print_result(request.record, format)
        notices.print(f"nothing is missing in {request.path}")
        return 0
    outcome = run_study(request, progress_for())
    record, interrupt = outcome.record, outcome.interrupt
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    kept = bool(record.runs or record.searches)
    if kept:
        print_result(record, format)
        if format != "json":
            print()
        notices.print(f"written to {request.path}")
        if not outcome.stopped and format == "table":
            notices.print(details_of(request.path))
    if outcome.stopped:
        told = "" if kept else "; nothing was trained or written"
        left = len(record.missing())
        notices.print(f"stopped early: {outcome.stopped}; runs that have not ended: {left}{told}")
        if kept:
            path = shlex.quote(str(request.path))
            notices.print(f"resume with: ffprof learn --resume {path}")
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(run.outcome == "ok" for run in record.runs):
        raise NothingMeasuredError(
            "no run was trained to its end", "read the problems listed above"
        )
    return 0
