"""Why a child ended: its exit status, and the last line of what it said."""

from __future__ import annotations

import signal
from pathlib import Path

LOG_TAIL_BYTES = 64 * 1024  # of a child's output, to find its last line


def why_it_ended(exitcode: int | None, log: Path) -> str:
    """In words; ``log`` holds its output."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    last = next((line for line in reversed(lines) if line), "")[:800]
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = "; the kernel does this when memory runs out" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}" + (f": {last}" if last and name != "SIGKILL" else "")
    return f"exit status {exitcode}" + (f": {last}" if last else "")
