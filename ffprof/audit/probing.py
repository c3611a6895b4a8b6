"""One question to a child: its answer, or one line that says why there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import TypeVar

from ffprof.audit.process import PRELOAD, run_child

LIMIT_SECONDS = 180.0
Answer = TypeVar("Answer")


def ask_child(
    context: BaseContext, target: Callable[..., None], kind: type[Answer]
) -> tuple[Answer | None, str]:
    """The first message of type ``kind`` that ``target`` sends, and the reason if there is none."""
    try:
        ending = run_child(context, target, (), LIMIT_SECONDS)
    except (EOFError, ConnectionError):
        # The server died in its imports, and cannot be asked why.
        return None, _why_server_ends()
    found = next((m for m in ending.messages if isinstance(m, kind)), None)
    return found, "" if found is not None else ending.reason or "no answer"


def _why_server_ends() -> str:
    """Why an interpreter that imports what the server does would end."""
    code = "; ".join(f"import {name}" for name in PRELOAD)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its imports take more than {LIMIT_SECONDS:g} s"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        return f"its imports are killed by signal {-done.returncode}"
    if done.returncode == 0 or not lines:
        return "the server that trials are forked from has ended"
    return lines[-1][:800]
