"""What the server of trials imports first: it ends with the process that started it.

It notices by itself once it waits for requests, but not during the seconds in which it imports
torch. Those are a quarter fewer without collections, in which next to nothing is found; trials have
them again. Nothing but the server may import this where ``STARTED_BY`` is set.
"""

from __future__ import annotations

import gc
import os

import psutil  # noqa: F401  # for the trials that are forked

from ffprof.harness.process.descendants import end_with_parent

STARTED_BY = "FFPROF_SERVER_OF"  # the number of the process that starts it

_by = os.environ.pop(STARTED_BY, "")
if _by:
    end_with_parent(int(_by))
    gc.disable()
