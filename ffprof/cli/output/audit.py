"""An audit that is run and printed, with further looks if they were requested."""

from __future__ import annotations

import shlex

from ffprof.cli.common_options import Format
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.output.console import Notices
from ffprof.cli.output.progress import progress_for
from ffprof.cli.output.result import print_result
from ffprof.errors import NothingMeasuredError
from ffprof.experiments.audit.looks import remember_new, run_looks, why_no_more
from ffprof.experiments.request import Request


def run_all(requests: tuple[Request, ...], format: Format, *, looks: bool = False) -> int:
    """One after the other; what ends one of them early ends them all.

    With ``looks``, an audit goes on to the next look while a claim on throughput is undecided.

    Raises:
        NothingMeasuredError: none of them has a number.
    """
    empty: list[NothingMeasuredError] = []
    for number, request in enumerate(requests):
        if number and format != "json":
            print()
        try:
            code = _run_and_print(request, format, looks=looks)
        except NothingMeasuredError as error:
            empty.append(error)
            continue
        if code:
            return code
    if len(empty) == len(requests):
        raise empty[0]
    return 0


def _run_and_print(request: Request, format: Format, *, looks: bool) -> int:
    notices = Notices()
    if not request.record.missing():
        print_result(request.record, format)
        notices.print(f"nothing is missing in {request.path}")
        return 0
    outcome = run_looks(request, lambda: progress_for(), looks=looks)
    record, interrupt = outcome.record, outcome.interrupt
    problem = ""
    if request.device == "cuda" and request.target is None:
        problem = remember_new(record, request.record)
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    if problem:
        notices.print(problem)
    written = record.trials or record.ledger  # what is known of rows is kept, too
    if record.trials:
        print_result(record, format)
        if format != "json":
            print()
        notices.print(f"written to {request.path}")
    if looks and request.target is None and record.trials and not outcome.stopped:
        notices.print(why_no_more(record))
    if outcome.stopped:
        kept = "" if written else "; nothing was measured or written"
        notices.print(
            f"stopped early: {outcome.stopped}; missing trials: {len(record.missing())}{kept}"
        )
        if written and request.target is None:
            path = shlex.quote(str(request.path))
            notices.print(f"resume with: ffprof run --resume {path}")
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(trial.outcome == "ok" for trial in record.trials):
        raise NothingMeasuredError("no trial gave a number", "read the problems listed above")
    return 0
