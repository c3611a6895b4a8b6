"""What commands print, beside reports: notices on standard error, and JSON.

Text may come from anywhere, so nothing in it is obeyed by a terminal or by the runner of a CI job.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from rich.console import Console

from ffprof.report.document import clean
from ffprof.report.exporters.json import safe_json


class Notices(Console):
    """What is said on standard error, beside the output; nothing where nobody can read it.

    A full disk behind it must not end an audit.
    """

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)

    def print(self, *objects: Any, **more: Any) -> None:
        """Say it, each text on lines of its own."""
        shown = [_lines(one) if isinstance(one, str) else one for one in objects]
        with contextlib.suppress(OSError):
            super().print(*shown, **more)

    def on_broken_pipe(self) -> None:
        """Nobody reads them any more, and the command goes on."""
        self.quiet = True


def _lines(text: str) -> str:
    return "\n".join(map(clean, text.split("\n")))


def print_json(document: Any) -> None:
    """Print a value, or the text of one, as JSON that every console and runner passes on."""
    text = document if isinstance(document, str) else json.dumps(document, indent=1)
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    print(safe_json(text, plain=not encoding.startswith("utf")))
