"""A process that has imported torch, from which servers of trials are forked.

Importing torch is four of the five seconds that a server takes to start, and the tests need a dozen
of them: one for each environment that their commands run under, with and without byte code. A
forked one runs what it would have been started with, in its environment and with its folders on the
path. It imports the rest by itself, so that an environment may replace any of ffprof's modules or
watch for their imports. What an environment would change of torch itself is declined, and the
server is then started afresh.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import types
from pathlib import Path

OF_SERVER = "FFPROF_SERVER_OF"  # harness.process.preload: the parent with which a server ends
# What differs between environments without changing how torch is imported.
_OTHERWISE = {
    "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONSAFEPATH", "PYTEST_CURRENT_TEST",
    "XDG_CACHE_HOME", "COLUMNS", "HOSTILE_PIDS", OF_SERVER,
}  # fmt: skip
_LONGEST = 1 << 16  # bytes of what is read at once
# As it was started: importing torch adds to the variables.
_STARTED = dict(os.environ)


def fork_from(address, code, descriptors):
    """The process that runs this code with these descriptors, in the environment as it is now.

    None if it must be started afresh, as where torch cannot be imported.
    """
    asked = {
        "code": code, "env": dict(os.environ), "descriptors": descriptors,
        "blocked": [int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    }  # fmt: skip
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        socket.send_fds(client, [b"."], descriptors)
        client.sendall(json.dumps(asked).encode())
        client.shutdown(socket.SHUT_WR)
        return json.loads(client.makefile().read())
    return None


def _folders(environment):
    return [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]


def _can_become(environment):
    """Whether an interpreter started under it would have imported the same so far."""

    def rest(variables):
        return {k: v for k, v in variables.items() if k not in _OTHERWISE}

    def shadows(folder):
        names = {one.name.partition(".")[0] for one in Path(folder).glob("*")}
        return names & set(sys.modules) - {"sitecustomize"}

    fresh = [one for one in _folders(environment) if one not in _folders(_STARTED)]
    return rest(environment) == rest(_STARTED) and not any(map(shadows, fresh))


def _become(asked, received):
    """In a forked process: what it would have been started with."""
    before = _folders(_STARTED)
    rest = [one for one in sys.path[1:] if one not in before]
    added = {name: value for name, value in os.environ.items() if name not in _STARTED}
    os.environ.clear()
    os.environ.update({**added, **asked["env"]})
    if OF_SERVER in os.environ:
        os.environ[OF_SERVER] = str(os.getppid())
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    folders = _folders(os.environ)
    here = [] if os.environ.get("PYTHONSAFEPATH") else [""]
    sys.path[:] = [*here, *folders, *rest]
    sys.argv = ["-c"]
    # Out of each other's way first: one may have the number that another shall get.
    away = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in received]
    for one in received:
        os.close(one)
    for one, number in zip(away, asked["descriptors"], strict=True):
        os.dup2(one, number)
        os.close(one)
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["blocked"])
    importlib.invalidate_caches()
    if any((Path(one) / "sitecustomize.py").exists() for one in folders):
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")


def _asked(client):
    """One request: what is asked, and the descriptors that came with it."""
    _, received, *_ = socket.recv_fds(client, 1, 8)
    text = b""
    while more := client.recv(_LONGEST):
        text += more
    return json.loads(text), received


def serve(listener, alive):
    """Returns in a forked process, with the code that it is to run."""
    while True:
        ready, *_ = select.select([listener, alive], [], [])
        if alive in ready:  # those for whom it was started have gone
            os._exit(0)
        client, _ = listener.accept()
        asked, received = _asked(client)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # servers that have ended
                pass
        pid = os.fork() if _can_become(asked["env"]) else None
        if pid == 0:
            for one in (listener, client):
                one.close()
            os.close(alive)
            _become(asked, received)
            return asked["code"]
        for one in received:
            os.close(one)
        with client:
            client.sendall(json.dumps(pid).encode())


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it is for the tests
    gc.disable()  # as in ffprof.harness.process.preload; a trial has it again
    importlib.import_module("torch._dynamo")
    gc.freeze()
    code = serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(code, vars(main))
