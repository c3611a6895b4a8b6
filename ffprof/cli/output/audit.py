"""An audit that is run and printed, with further looks if they were asked for."""

from __future__ import annotations

import shlex
from dataclasses import replace

from rich.console import Console

from ffprof.analysis.statistics.looks import next_look
from ffprof.analysis.verdicts import undecided
from ffprof.cli.common_options import Format
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.output.result import print_result
from ffprof.cli.progress import progress_for
from ffprof.errors import NothingMeasuredError
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.campaign import Outcome
from ffprof.experiments.request import Request
from ffprof.records.audit import Record


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
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    if not request.record.missing():
        print_result(request.record, format)
        notices.print(f"nothing is missing in {request.path}", markup=False)
        return 0
    outcome = _run(request, looks=looks)
    record, interrupt = outcome.record, outcome.interrupt
    problem = ""
    if request.device == "cuda" and request.target is None:
        problem = _remember(record, request.record)
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    if problem:
        notices.print(problem, markup=False)
    written = record.trials or record.ledger  # what is known of rows is kept, too
    if record.trials:
        print_result(record, format)
        if format != "json":
            print()
        notices.print(f"written to {request.path}", markup=False)
    if looks and request.target is None and record.trials and not outcome.stopped:
        notices.print(_why_no_more(record), markup=False)
    if outcome.stopped:
        kept = "" if written else "; nothing was measured or written"
        notices.print(
            f"stopped early: {outcome.stopped}; missing trials: {len(record.missing())}{kept}"
        )
        if written:
            path = shlex.quote(str(request.path))
            notices.print(f"go on with: ffprof run --resume {path}", markup=False)
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(trial.outcome == "ok" for trial in record.trials):
        raise NothingMeasuredError("no trial gave a number", "read the problems listed above")
    return 0


def _run(request: Request, *, looks: bool) -> Outcome[Record]:
    """The audit, and with ``looks`` its further rounds."""
    outcome = run_audit(request, progress_for(Console(stderr=True)))
    while looks and not outcome.stopped and undecided(outcome.record):
        rounds = outcome.record.plan.rounds
        further = next_look(rounds)
        if further is None:
            break
        note = f"a claim on throughput was undecided after {rounds} rounds, so {further} were taken"
        record = outcome.record.model_copy(
            update={
                "plan": outcome.record.plan.model_copy(update={"rounds": further}),
                "verdicts": (),
                "notes": (*outcome.record.notes, note),
            }
        )
        outcome = run_audit(replace(request, record=record), progress_for(Console(stderr=True)))
    return outcome


def _why_no_more(record: Record) -> str:
    """Why looks ended with the rounds of a record."""
    judged = [v for v in record.verdicts if v.metric == "throughput"]
    rounds = f"stopped after {record.plan.rounds} rounds"
    if not judged:
        return f"{rounds}: no claim on throughput here"
    if undecided(record):
        return f"{rounds}, the last look: a claim on throughput is undecided"
    if all(v.supported is not None for v in judged):
        return f"{rounds}: every claim on throughput is decided"
    return f"{rounds}: further rounds would decide no claim on throughput"


def _remember(record: Record, before: Record) -> str:
    """Let later estimates know what this GPU takes beside the allocator; returns a note.

    Trials that a resumed audit had already were remembered when they ran.
    """
    known = {trial.id for trial in before.trials}
    new = tuple(trial for trial in record.trials if trial.id not in known)
    return remember(record.model_copy(update={"trials": new}))
