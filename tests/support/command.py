"""Runs the real command line in a real process."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ffprof import load

TINY = [
    "--preset", "smoke", "--device", "cpu", "--steps", "2", "--threads", "1",
]  # fmt: skip


def _startup(environment):
    """What an interpreter reads when it starts, so that a forked command must have started so."""
    return {k: v for k, v in environment.items() if k.startswith(("PYTHON", "LD_"))}


class _Forker:
    """One process for the commands under one such environment; see ``forked``."""

    def __init__(self, environment):
        self._startup = _startup(environment)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        atexit.register(self.end)

    def end(self):
        atexit.unregister(self.end)
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def serves(self, environment):
        """Whether a command started afresh would import what this process has imported."""
        return self._process.poll() is None and self._startup == _startup(environment)

    def run(self, words, environment, cwd, timeout, code=None):
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            out.touch()
            err.touch()
            asked = {
                "words": words, "cwd": str(cwd or Path.cwd()), "env": environment,
                "out": str(out), "err": str(err), "code": code,
            }  # fmt: skip
            print(json.dumps(asked), file=self._process.stdin, flush=True)
            pid = int(self._process.stdout.readline())
            late = []

            def stop():
                late.append(pid)
                os.kill(pid, signal.SIGKILL)

            timer = threading.Timer(timeout, stop)
            timer.start()
            code = int(self._process.stdout.readline())
            timer.cancel()
            if late:
                raise subprocess.TimeoutExpired(words, timeout, out.read_text(), err.read_text())
            return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


_forkers: list[_Forker] = []
_first: dict[str, str] = {}


def begin_with(environment):
    """The environment of the tests, before any of them has changed it."""
    _first.update(environment)


@contextlib.contextmanager
def many_commands(environment):
    """Have commands under it forked, and share a server of trials; for one that tests share."""
    made = _Forker(environment)
    _forkers.insert(0, made)
    try:
        yield environment
    finally:
        _forkers.remove(made)
        made.end()


def ffprof(*words, env=None, timeout=600, cwd=None):
    """The command, captured; forked unless its environment needs another interpreter."""
    return _captured(None, words, env, timeout, cwd)


def python(code, *words, cwd=None):
    """A script that does what a command would, in the same way."""
    return _captured(code, words, None, 600, cwd)


def _captured(code, words, env, timeout, cwd):
    words, environment = list(map(str, words)), dict(os.environ if env is None else env)
    if not _forkers:
        _forkers.append(_Forker(_first or dict(os.environ)))
    for one in _forkers:
        if one.serves(environment):
            return one.run(words, environment, cwd, timeout, code)
    return subprocess.run(
        [sys.executable, *(("-m", "ffprof") if code is None else ("-c", code)), *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
        check=False,
        cwd=cwd,
    )


def only_record(folder: Path):
    (path,) = folder.glob("audit-*.json")
    json.loads(path.read_text())
    return load(path)


def outcomes(record):
    return {t.workload: t.outcome for t in record.trials}


def by_workload(record, figure):
    """The set of a figure's values over the trials of each workload."""
    found = {}
    for trial in record.trials:
        found.setdefault(trial.workload, set()).add(figure(trial))
    return found
