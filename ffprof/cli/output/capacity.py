"""The largest sizes that fit, searched for and printed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ffprof.cli.common_options import Format
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.output.console import Notices
from ffprof.cli.output.progress import progress_for
from ffprof.cli.output.result import print_result
from ffprof.errors import NothingMeasuredError
from ffprof.experiments.capacity.plan import grown_by, prepare_search
from ffprof.experiments.capacity.resume import resumed_search
from ffprof.experiments.capacity.runner import find_capacities
from ffprof.experiments.options import Options
from ffprof.records.frontier import Capacity


def print_largest(options: Options, written: Mapping[str, Any], format: Format) -> int:
    """Search, print, and write a result file; returns the exit code.

    Args:
        options: what was requested.
        written: the options on the command line, by the name of their parameter.
        format: how to print it.

    Raises:
        FfprofError: something cannot be meant, or nothing could be found out.
    """
    grown, file = grown_by(options, written), written.get("resume")
    opened = (
        prepare_search(options, grown) if file is None else resumed_search(options, grown, file)
    )
    with opened as request:
        if not request.workloads:
            Notices().print(f"nothing is missing in {request.path}")
        outcome = find_capacities(request, progress_for())
    record, interrupt = outcome.record, outcome.interrupt
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    notices = Notices()
    if record.capacities:
        print_result(record, format)
        if format != "json":
            print()
        notices.print(f"written to {request.path}")
    if outcome.stopped:
        left = len(request.workloads) - len(record.capacities) + len(request.record.capacities)
        kept = "" if record.capacities else "; nothing was found or written"
        notices.print(f"stopped early: {outcome.stopped}; workloads left: {left}{kept}")
        if record.capacities:
            again = f"{record.command} --resume {shlex.quote(str(request.path))}"
            notices.print(f"resume with: {again}" if file is None else "resume in the same way")
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(_says_something(one) for one in record.capacities):
        raise NothingMeasuredError(
            "no size of any workload could be tried",
            "read why above" if record.capacities else "raise --run-limit",
        )
    return 0


def _says_something(one: Capacity) -> bool:
    return any(tried.outcome in ("ok", "oom") for tried in one.tried)
