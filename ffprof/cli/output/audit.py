"""An audit that is run and printed, with further looks if they were requested."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ffprof.cli.common_options import Format
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.output.console import Notices
from ffprof.cli.output.progress import progress_for
from ffprof.cli.output.result import details_of, print_document, print_result
from ffprof.errors import NothingMeasuredError, UsageError
from ffprof.experiments.audit.looks import remember_new, run_looks, why_no_more
from ffprof.experiments.request import Request
from ffprof.records.audit import Record
from ffprof.report.audit import make_document
from ffprof.report.document import Document


@dataclass(frozen=True)
class Printed:
    """How results are to be printed.

    Ratios are to the row ``relative_to``, if it is named. Where there are more than ``one``, what
    they come to is said when all have ended.
    """

    format: Format = "table"
    full: bool = False
    relative_to: str = ""
    one: bool = True

    @property
    def words(self) -> list[str]:
        """The options that ``ffprof report`` has, too."""
        return ["--relative-to", self.relative_to] if self.relative_to else []


def run_all(requests: tuple[Request, ...], printed: Printed, *, looks: bool = False) -> int:
    """One after the other; what ends one of them early ends them all.

    With ``looks``, an audit goes on to the next look while a claim on throughput is undecided.
    Several end together: a heading, what they come to and their files.

    Raises:
        NothingMeasuredError: none of them has a number.
    """
    empty: list[NothingMeasuredError] = []
    ends: list[Document] = []
    printed = replace(printed, one=len(requests) == 1)
    code = 0
    for number, request in enumerate(requests):
        if number and printed.format != "json":
            print()
        try:
            code = _run_and_print(request, printed, ends, looks=looks)
        except NothingMeasuredError as error:
            empty.append(error)
            continue
        if code:
            break
    if not printed.one and printed.format == "table" and code != interrupt_code(Terminated()):
        _print_ends(ends)
    if len(empty) == len(requests):
        raise empty[0]
    return code


def _print_ends(ends: Sequence[Document]) -> None:
    """The last screen of several audits: of each its title, its first answer, and what is next."""
    from ffprof.report.exporters.terminal import OutputConsole, print_end

    for end in ends:
        print()
        print_end(replace(end, answers=end.answers[:1]), OutputConsole())


def _print(record: Record, printed: Printed) -> Document | None:
    """The report that was printed as a table, if it was."""
    if printed.format == "json":
        print_result(record, "json")
        return None
    try:
        document = make_document(record, relative_to=printed.relative_to)
    except UsageError as error:  # the row has no figures, which is no reason to lose all others
        Notices().print(str(error))
        document = make_document(record)
    shown = document if printed.one else replace(document, answers=())
    print_document(shown, printed.format, full=printed.full)
    return document if printed.format == "table" else None


def _run_and_print(request: Request, printed: Printed, ends: list[Document], *, looks: bool) -> int:
    notices = Notices()
    if not request.record.missing():
        _print(request.record, printed)
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
        notices.print(f"written to {request.path}")
        document = _print(record, printed)
        closing = details_of(request.path, printed.words)
        if outcome.stopped and request.target is None:
            closing = f"resume with: ffprof run --resume {shlex.quote(str(request.path))}"
        if document is not None:
            ends.append(replace(document, closing=(closing,)))
            if printed.one and not (printed.full or outcome.stopped):
                notices.print(closing)
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
