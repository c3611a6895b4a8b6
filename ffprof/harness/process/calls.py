"""Questions to a child: each with its answer, or one line that says why there is none.

A child may answer several, one after another: tracing warms up much of PyTorch, which takes a child
as long as a workload does, so registered workloads are estimated by one child. One that ends early
costs its present question, and what is left is asked of a new child.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.harness.process.child import (
    NO_ANSWER,
    PRELOAD,
    SERVER_ENDED,
    Answer,
    Ending,
    run_child,
    signal_name,
)
from ffprof.harness.process.messages import Failed

LIMIT_SECONDS = 180.0


def ask_child(
    context: BaseContext, target: Callable[..., None], kind: type[Answer]
) -> tuple[Answer | None, str]:
    """The first message of type ``kind`` that ``target`` sends, and the reason if there is none."""
    ending = run_child(context, target, (), LIMIT_SECONDS)
    if ending.reason.startswith(SERVER_ENDED):  # in its imports, and it cannot be asked why
        return None, _why_server_ends()
    found = ending.answer(kind)
    return (None, found.message) if isinstance(found, Failed) else (found, "")


def _why_server_ends() -> str:
    """Why an interpreter that imports what the server does would end."""
    code = "; ".join(f"import {name}" for name in PRELOAD)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
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
        return f"its imports are killed by {signal_name(-done.returncode)}"
    if done.returncode == 0 or not lines:
        return SERVER_ENDED
    return lines[-1][:800]


def run_series(
    context: BaseContext,
    child: Callable[..., None],
    pieces: Sequence[Any],
    limit_seconds: float,
    on_answer: Callable[[int, Ending], None],
    arguments: tuple[Any, ...] = (),
) -> None:
    """Let ``child(connection, pieces, *arguments)`` send one message for each piece, in order.

    Args:
        context: how the child is started.
        child: a module-level function.
        pieces: picklable.
        limit_seconds: of one piece.
        on_answer: called with the number of each piece and its ending, as soon as it is known.
        arguments: the same for all.
    """
    done = 0
    while done < len(pieces):
        first, began = done, time.monotonic()

        def answered(_: int, message: Any) -> None:
            nonlocal done, began
            now = time.monotonic()
            on_answer(done, Ending(kind="ended", messages=(message,), seconds=now - began))
            done, began = done + 1, now

        ending = run_child(
            context,
            child,
            (list(pieces[first:]), *arguments),
            limit_seconds,
            on_message=answered,
            renewed=True,
        )
        # A child that tells of a failure may end with it; whether the next piece is to blame, too,
        # a new child finds out.
        told = bool(ending.messages) and isinstance(ending.messages[-1], Failed)
        if done < len(pieces) and (done == first or not told):
            on_answer(
                done,
                Ending(
                    kind="crashed" if ending.kind == "ended" else ending.kind,
                    messages=(),
                    reason=ending.reason or NO_ANSWER,
                    seconds=time.monotonic() - began,
                ),
            )
            done += 1
