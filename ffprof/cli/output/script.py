"""The estimate of a script as a table or as JSON, and the exit code that it leads to."""

from __future__ import annotations

from pathlib import Path

from ffprof.cli.common_options import Format
from ffprof.cli.output.console import print_json
from ffprof.cli.output.result import print_document
from ffprof.harness.process.streams import say
from ffprof.records.script import ScriptEstimate, Status
from ffprof.report.estimate.script import script_document, share_known
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
