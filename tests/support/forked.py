"""Commands of ``python -m ffprof``, forked from one process that has imported what they import.

Importing takes most of the half second that a refused command lasts, and tests start hundreds. A
forked command is a process of its own as one started afresh is, with its own words, folder,
environment and output, run as ``__main__`` and ended by the interpreter. The process that forks
runs no command and never has torch. It waits for a command, or is asked later how one has ended.

Of the five seconds of a small audit, four pass while the server of its trials imports torch. So
commands under one environment share a server: it only forks, and a trial is a fresh child of it
whichever command asks. That server is forked in turn from a process that has imported torch, where
that is the same (``warm_torch``). A command in another environment starts its own, as do all
commands that tests start without this.

With the word ``--torch`` the process has torch as well, and what a command would start afresh with
it, trials on CUDA and their server, is forked in place (``fresh_start``). That is for a null
device, where each of dozens of trials would import torch.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import types
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path

from fresh_start import fork_what_is_started
from warm_torch import OF_SERVER, fork_from

# Commands of which some have trials or estimates, and options of ``paper``; others never need a
# server.
_WITH_TRIALS = {"run", "estimate", "frontier", "calibrate", "check", "learn", "--run", "--card"}
# Commands that only look, or do with an option: what their children load is not compiled to a file,
# so that they need a server of their own.
_LOOKING = {"estimate": "estimate", "calibrate": "--from", "paper": "--card"}


def has_trials(words, code):
    """Whether a command may start processes that need torch; a script may."""
    return code is not None or not _WITH_TRIALS.isdisjoint(words)


def _only_looks(words):
    return "--dry-run" in words or (words and _LOOKING.get(words[0]) in words)


WITH_TORCH = "--torch"
# Whose modules commands import as they need them; none of these needs torch.
_PACKAGES = ("cli", "experiments", "report", "analysis", "records")
# The same of what others wrote: it takes as long as everything else.
_OTHERS = ("numpy", "psutil", "scipy.special")


def import_commands():
    """What the commands import when they are called, and what they do then."""
    for name in _OTHERS:
        importlib.import_module(name)
    for name in _PACKAGES:
        package = importlib.import_module(f"ffprof.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"ffprof.{name}."):
            importlib.import_module(module.name)
    assert "torch" not in sys.modules
    if WITH_TORCH in sys.argv:
        # What the server of trials imports, but for what decides when it ends.
        from ffprof.harness.process.child import PRELOAD

        for name in PRELOAD:
            if not name.endswith(".preload"):
                importlib.import_module(name)
        fork_what_is_started()
    # Never garbage for a command: looking through it would copy its pages.
    gc.collect()
    gc.freeze()


@dataclass
class _Server:
    """A server of trials: where it listens, and what keeps it running."""

    environment: dict
    address: str
    alive: int
    pid: int


def seen_by_trials(environment):
    """What a trial may see of the variables; of the others it reads none.

    Those of a start are the server's alone: a trial is told what they were before.
    """
    unread = ("PYTEST_CURRENT_TEST", "XDG_CACHE_HOME", "COLUMNS", "PYTHONSAFEPATH", OF_SERVER)
    return {k: v for k, v in environment.items() if k not in unread}


@contextlib.contextmanager
def _started_from(warm):
    """Python's servers are forked from there, if they can be."""
    resource_tracker.ensure_running()  # which is none
    start, pids = util.spawnv_passfds, []

    def spawn(path, words, descriptors):
        forked = fork_from(warm, words[-1], descriptors) if warm else None
        pids.append(forked or start(path, words, descriptors))
        return pids[-1]

    util.spawnv_passfds = spawn
    try:
        yield pids
    finally:
        util.spawnv_passfds = start


def _start_server(more, warm):
    """A server under the environment of this process and of trials, and ``more`` of what looks."""
    from ffprof.hardware.environment import child_environment, environment
    from ffprof.harness.process.child import start_context
    from ffprof.workload import find_preset

    trials = child_environment(find_preset("smoke").recipe)
    with environment({**trials, **more}), _started_from(warm) as pids:
        start_context("forkserver")
        made = forkserver._forkserver
        server = _Server(
            seen_by_trials(os.environ), made._forkserver_address, made._forkserver_alive_fd, *pids
        )
    made._forkserver_address = made._forkserver_alive_fd = made._forkserver_pid = None
    return server


def _use(servers):
    """In a command: where it would start a server in the environment of one of these, it has it."""
    made = forkserver._forkserver
    start = made.ensure_running

    def ensure_running():
        if made._forkserver_pid is not None:
            start()
        elif made._forkserver_address is None:
            for server in servers:
                if server.environment == seen_by_trials(os.environ):
                    resource_tracker.ensure_running()
                    made._forkserver_address = server.address
                    made._forkserver_alive_fd = server.alive
                    return
            start()

    made.ensure_running = forkserver.ensure_running = ensure_running


def _ended(pid, wait):
    """The exit status of a command; without waiting, None while it runs."""
    found, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _begin(asked):
    """In a command, what its parent decides: folder, environment, session and output."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    if asked["session"]:
        os.setsid()
    wanted = (os.devnull, asked["out"], asked["err"])
    for number, (path, flags) in enumerate(zip(wanted, (os.O_RDONLY, 1, 1), strict=True)):
        descriptor = os.open(path, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)


def become_the_next():
    """Returns in a forked process, with the words of its command or script; ends with the input."""
    # What a server prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    servers = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "ended" in asked:
            print(json.dumps(_ended(asked["ended"], wait=False)), file=answers, flush=True)
            continue
        if "server" in asked:
            print(json.dumps(servers[False].pid), file=answers, flush=True)
            continue
        dry = bool(_only_looks(asked["words"])) and "PYTHONDONTWRITEBYTECODE" not in os.environ
        if has_trials(asked["words"], asked["code"]) and dry not in servers:
            more = {"PYTHONDONTWRITEBYTECODE": "1"} if dry else {}
            servers[dry] = _start_server(more, asked["warm"])
        # Before the command is there to be sent one.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in asked["ignored"]}
        pid = os.fork()
        if pid == 0:
            _begin(asked)
            _use(list(servers.values()))
            return asked["words"], asked["code"]
        for number, handler in before.items():
            signal.signal(number, handler)
        print(pid, file=answers, flush=True)
        if not asked["background"]:
            print(_ended(pid, wait=True), file=answers, flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    import_commands()
    words, code = become_the_next()
    sys.path[0] = str(Path.cwd())
    if code is None:
        sys.argv = ["ffprof", *words]
        runpy.run_module("ffprof", run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *words]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(code, vars(main))
