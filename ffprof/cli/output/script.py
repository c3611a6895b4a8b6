"""The estimate of a script, or of one with several values, and the exit code it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ffprof.cli.common_options import Format
from ffprof.cli.output.console import print_json
from ffprof.cli.output.result import print_document
from ffprof.experiments.script.growth import find_growth
from ffprof.experiments.script.largest import find_largest
from ffprof.experiments.script.question import ScriptQuestion, Values
from ffprof.experiments.script.request import ScriptRequest
from ffprof.harness.process.streams import say
from ffprof.records.script import (
    ScriptEstimate,
    ScriptGrowth,
    ScriptLargest,
    ScriptTried,
    Status,
)
from ffprof.report.estimate.script import script_document, share_known
from ffprof.report.estimate.script_values import growth_document, largest_document
from ffprof.report.exporters.terminal import OutputConsole

# Of docs/estimate_script.md; 2 and 3 are those of errors everywhere.
EXIT_CODES: dict[Status, int] = {
    "fits": 0,
    "too close to call": 10,
    "out of memory": 11,
    "failed": 12,
    "incomplete": 13,
}
NOT_COVERED = 14
NOT_DECIDED = 4  # of a search
_NAMED = 3


def print_script(found: ScriptEstimate, format: Format, snapshot: Path | None) -> None:
    """Print it, and say where the snapshot is."""
    if format == "json":
        print_json(found.model_dump(mode="json"))
    else:
        print_document(script_document(found, OutputConsole().width), format)
    if snapshot is None:
        return
    if found.peak is None:
        say(f"no snapshot was written to {snapshot}: there was no step to show")
    else:
        say(f"written to {snapshot}; open it at https://pytorch.org/memory_viz")


def exit_code_of(found: ScriptEstimate, *, strict: bool) -> int:
    """That of its status; with ``strict``, one of its own where not all is known."""
    code = EXIT_CODES[found.status]
    coverage = found.coverage
    if strict and coverage is not None and coverage.share < 1:
        names = [f"{name} (not known)" for name in coverage.unknown]
        names += [f"{name} (assumed)" for name in coverage.assumed]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        say(f"--strict: {share_known(coverage.share)}: {', '.join(names[:_NAMED])}{more}")
        return code if code in (EXIT_CODES["failed"], EXIT_CODES["incomplete"]) else NOT_COVERED
    return code


def tell_values(
    request: ScriptRequest,
    asked: ScriptQuestion,
    values: Values,
    format: Format,
    *,
    strict: bool,
) -> int:
    """Run the command with several values, print what was found, and return the exit code.

    Raises:
        UsageError: the command cannot be started, or there is nothing to draw with.
        NullDeviceError: the device cannot be built.
        StoreError: the plot cannot be written.
    """
    if not values.swept:
        largest = find_largest(request, values, asked.unit or 1, say)
        print_largest(largest, format)
        return exit_code_of_largest(largest, strict=strict)
    if asked.plot is not None:
        from ffprof.report.exporters.plots import check_matplotlib

        check_matplotlib()
    growth = find_growth(request, values, say)
    print_growth(growth, format, asked.plot)
    return exit_code_of_growth(growth, strict=strict)


def print_largest(found: ScriptLargest, format: Format) -> None:
    """Print the answer of a search, with what was tried."""
    if format == "json":
        print_json(found.model_dump(mode="json"))
    else:
        print_document(largest_document(found, OutputConsole().width), format)


def exit_code_of_largest(found: ScriptLargest, *, strict: bool) -> int:
    """0 if it is proven; else that of the run that stands in the way, or not decided."""
    at = {one.value: one.status for one in found.tried}
    stands = at.get(found.first_failing or 0)
    if found.proven:
        code = 0
    elif stands is not None and (not found.largest or stands in ("failed", "incomplete")):
        code = EXIT_CODES[stands]
    else:
        code = NOT_DECIDED
    return _strictly(code, found.tried) if strict else code


def print_growth(found: ScriptGrowth, format: Format, plot: Path | None) -> None:
    """Print a row a value, and draw them.

    Raises:
        StoreError: the plot cannot be written.
    """
    if format == "json":
        print_json(found.model_dump(mode="json"))
    else:
        print_document(growth_document(found, OutputConsole().width), format)
    if plot is None:
        return
    from ffprof.report.exporters.plots import Line, draw_lines

    values = [one.value for one in found.rows]
    panels = {
        "allocated peak": [one.allocated_peak_bytes for one in found.rows],
        "reserved peak": [one.reserved_peak_bytes for one in found.rows],
    }
    label = found.card or found.device_name
    lines = {
        title: [Line(label=label, values=values, sizes=sizes)] for title, sizes in panels.items()
    }
    draw_lines(lines, found.grown, found.evidence, plot)
    say(f"written to {plot}")


def exit_code_of_growth(found: ScriptGrowth, *, strict: bool) -> int:
    """0 if any value gave figures, else that of the first one."""
    known = any(one.allocated_peak_bytes is not None for one in found.rows)
    code = 0 if known else EXIT_CODES[found.rows[0].status]
    return _strictly(code, found.rows) if strict else code


def _strictly(code: int, tried: Sequence[ScriptTried]) -> int:
    """The code, or one of its own where not all is known at some value."""
    known = {one.value: one.known_share for one in tried if one.known_share is not None}
    value, share = min(known.items(), key=lambda one: one[1], default=(0, 1.0))
    if share == 1 or code in (EXIT_CODES["failed"], EXIT_CODES["incomplete"]):
        return code
    say(f"--strict: at {value:,}, {share_known(share)}")
    return NOT_COVERED
