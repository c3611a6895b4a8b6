"""Forks what multiprocessing would start as a new interpreter, in a process that has torch.

A child that is spawned imports torch, which takes three seconds. Here it is forked from the process
that starts it, gets the same code, descriptors and defaults as a new interpreter would, and is
still a child that was spawned: it unpickles what it is to do, and nothing of it is CUDA's yet.
"""

import contextlib
import os
import signal
import sys
import traceback
import types
from multiprocessing import util
from pathlib import Path

# What starts these needs torch; the resource tracker does not, and is started as always.
_CODES = ("multiprocessing.spawn", "multiprocessing.forkserver")
_TO_DEFAULT = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM)


def fork_what_is_started():
    """From now on, in this process and those forked from it."""
    start = util.spawnv_passfds

    def spawn(path, words, descriptors):
        code = words[words.index("-c") + 1] if "-c" in words else ""
        if not any(one in code for one in _CODES):
            return start(path, words, descriptors)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            _run(code, words[words.index("-c") + 2 :], descriptors)
        return pid

    util.spawnv_passfds = spawn


def _run(code, words, descriptors):
    """In the forked process; never returns."""
    status = 1
    try:
        _become_new(words, descriptors)
        main = types.ModuleType("__main__")
        if "multiprocessing.forkserver" in code:
            sys.modules["__main__"] = main
        exec(code, vars(main))
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - told as an interpreter tells what ends it
        traceback.print_exc()
    finally:
        os._exit(status)


def _become_new(words, descriptors):
    """As a new interpreter has it: descriptors, handlers of signals, words."""
    kept = {0, 1, 2, *descriptors}
    for one in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if one not in kept:
            with contextlib.suppress(OSError):  # the one that the list was read with
                os.close(one)
    for number in _TO_DEFAULT:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = ["-c", *words]
    _forget_trials()


def _forget_trials():
    """What the command knows of its own children is nothing of a child's."""
    from ffprof.harness.process import descendants

    descendants._adopts[0] = False
    descendants._known.clear()
