"""``ffprof run --max-batch`` and ``--max-depth``: the largest size of every workload that fits."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.errors import NothingMeasuredError
from ffprof.experiments.capacity.plan import _asked, _prepared
from ffprof.experiments.capacity.runner import find_capacities
from ffprof.experiments.options import Options
from ffprof.records.frontier import Capacity
from ffprof.report.capacity import capacity_document
from ffprof.report.exporters.terminal import OutputConsole, print_document


def print_largest(options: Options, written: Mapping[str, Any]) -> int:
    """Search, print, and write a result file; returns the exit code.

    Args:
        options: what was asked for.
        written: the options on the command line, by the name of their parameter.

    Raises:
        FfprofError: something cannot be meant, or nothing could be found out.
    """
    grown = _asked(options, written)
    with _prepared(options, grown) as request:
        outcome = find_capacities(request, LineProgress())
    record, interrupt = outcome.record, outcome.interrupt
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    if record.capacities:
        print_document(capacity_document(record), console := OutputConsole())
        console.print()
        notices.print(f"written to {request.path}", markup=False)
    if outcome.stopped:
        left = len(request.workloads) - len(record.capacities)
        kept = "" if record.capacities else "; nothing was found or written"
        notices.print(f"stopped early: {outcome.stopped}; workloads left: {left}{kept}")
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


class LineProgress:
    """One line on a terminal's standard error, and nothing elsewhere."""

    def __init__(self) -> None:
        self._shown, self._head = sys.stderr.isatty(), ""

    def proposes(self, workload: str, number: int, total: int) -> None:
        """See ``CapacityProgress``."""
        self._head = f"{number + 1} of {total}: {workload}"
        self._draw(f"{self._head}: estimating")

    def tries(self, workload: str, size: int, low: int, high: int | None) -> None:
        """See ``CapacityProgress``."""
        known = [f"{low:,} fits"] if low else []
        known += [f"{high:,} does not"] if high is not None else []
        self._draw(f"{self._head}: running {size:,}{''.join(f', {k}' for k in known)}")

    def ends(self) -> None:
        """See ``CapacityProgress``."""
        self._draw("")

    def _draw(self, text: str) -> None:
        if self._shown:
            room = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{text[:room]}", end="", file=sys.stderr, flush=True)
