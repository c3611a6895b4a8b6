"""Checks as a table, as Markdown, as JSON, and for GitHub."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ffprof.cli.output.console import Notices, print_json

if TYPE_CHECKING:
    from ffprof.analysis.gates.result import BaselineCheck


def print_checks(checks: Sequence[BaselineCheck], format: str, *, everything: bool) -> None:
    """Print what was found in one of the formats of a check; ``everything``: what passed, too."""
    from ffprof.report.exporters import check as formats

    if format == "json":
        print_json(formats.checks_json(checks))
    elif format == "markdown":
        sys.stdout.write(formats.checks_markdown(checks, everything=everything))
    elif format == "github":
        print("\n".join(formats.github_lines(checks)))
        _summarise(formats.github_summary(checks))
    else:
        from ffprof.report.check import checked_document
        from ffprof.report.exporters.terminal import OutputConsole, print_document

        console = OutputConsole()
        for number, found in enumerate(checks):
            if number:
                console.print()
            print_document(checked_document(found, everything=everything), console)


def _summarise(text: str) -> None:
    """Append to the job's summary, if this is a job that has one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        Notices().print(f"ffprof: the job's summary was not written: {error.strerror or error}")
