"""One child that does one piece of work after another, because its first one is slow.

Tracing warms up much of PyTorch, which takes a child as long as a workload does. So registered
workloads are estimated by one child; one that ends early costs its present piece of work, and
what is left is done by a new child.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.audit.messages import Failed
from ffprof.audit.process import Ending, run_child


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
                    reason=ending.reason or "no answer",
                    seconds=time.monotonic() - began,
                ),
            )
            done += 1
