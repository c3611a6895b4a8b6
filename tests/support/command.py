"""Runs the real command line in a real process."""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from forked import WITH_TORCH, has_trials, seen_by_trials

from ffprof import load
from ffprof.hardware.environment import child_environment
from ffprof.nulldevice import is_in_use
from ffprof.workload import find_preset

TINY = [
    "--preset", "smoke", "--device", "cpu", "--steps", "2", "--threads", "1",
    "--batch", "8", "--micro-batch", "2",
]  # fmt: skip


def _startup(environment):
    """What an interpreter reads when it starts, so that a forked command must have started so."""
    return {k: v for k, v in environment.items() if k.startswith(("PYTHON", "LD_"))}


class _Warm:
    """A process from which servers of trials are forked, once it has imported torch."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.address = str(Path(self._folder.name) / "socket")
        alive, self._alive = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            descriptors = listener.fileno(), alive
            script = Path(__file__).with_name("warm_torch.py")
            self._process = subprocess.Popen(
                [sys.executable, script, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                env=_for_trials(_usual()),
                pass_fds=descriptors,
            )
        os.close(alive)
        atexit.register(self.end)

    def end(self):
        os.close(self._alive)
        self._process.wait()
        self._folder.cleanup()


_warm: list[_Warm] = []


def _for_trials(environment):
    """As a server of trials is started."""
    wanted = child_environment(find_preset("smoke").recipe)
    changed = {**environment, **wanted}
    return {name: value for name, value in changed.items() if value is not None}


def _address_of_warm(words, code):
    """Where it listens; it is started for the first command that may need it."""
    if not has_trials(words, code) or is_in_use():
        return None
    if not _warm:
        _warm.append(_Warm())
    return _warm[0].address


class _Forker:
    """One process for the commands under one such environment; see ``forked``."""

    def __init__(self, environment):
        self._startup, self._owner = _startup(environment), os.getpid()
        words = []
        if is_in_use():
            words, environment = [WITH_TORCH], _for_trials(environment)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked.py")), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # It imports NumPy, whose threads would not survive a fork.
            env={**environment, "OPENBLAS_NUM_THREADS": "1"},
        )
        atexit.register(self.end)

    def end(self):
        atexit.unregister(self.end)
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def serves(self, environment):
        """Whether a command started afresh would import what this process has imported."""
        # Its own child is asked whether it runs; that of the process it was forked from is not.
        runs = os.getpid() != self._owner or self._process.poll() is None
        return runs and self._startup == _startup(environment)

    def run(self, words, environment, cwd, timeout, code=None):
        with tempfile.TemporaryDirectory() as folder:
            out, err = _outputs(folder)
            pid = self._fork(words, environment, cwd, out, err, code=code)
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

    def start(self, words, environment, cwd, session, ignored):
        folder = tempfile.TemporaryDirectory()
        out, err = _outputs(folder.name)
        more = {"background": True, "session": session, "ignored": ignored}
        pid = self._fork(words, environment, cwd, out, err, **more)
        return _Started(self, pid, folder, out, err)

    def _fork(
        self, words, environment, cwd, out, err,
        code=None, background=False, session=False, ignored=(),
    ):  # fmt: skip
        asked = {
            "words": words, "cwd": str(cwd or Path.cwd()), "env": environment,
            "warm": _address_of_warm(words, code),
            "out": str(out), "err": str(err), "code": code,
            "background": background, "session": session, "ignored": list(ignored),
        }  # fmt: skip
        return self._answer(asked)

    def ended(self, pid):
        """The exit status of what was started, or None while it runs."""
        return self._answer({"ended": pid})

    def server(self):
        """The server of those trials that are no dry run's."""
        return self._answer({"server": True})

    def _answer(self, asked):
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


def _outputs(folder):
    paths = Path(folder) / "out", Path(folder) / "err"
    for path in paths:
        path.touch()
    return paths


class _Started:
    """A command in the background, as ``subprocess.Popen`` has it; its output comes at its end."""

    def __init__(self, forker, pid, folder, out, err):
        self._forker, self.pid, self.returncode = forker, pid, None
        self._folder, self._paths, self._outputs = folder, (out, err), None

    @property
    def server(self):
        """The process that its trials are forked from, as those of others are."""
        return self._forker.server()

    def poll(self):
        if self.returncode is None:
            self.returncode = self._forker.ended(self.pid)
            if self.returncode is not None:
                self._outputs = tuple(path.read_text() for path in self._paths)
                self._folder.cleanup()
        return self.returncode

    def wait(self, timeout):
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"ffprof, {self.pid}", timeout)
            time.sleep(0.01)
        return self.returncode

    def communicate(self, timeout):
        self.wait(timeout)
        return self._outputs

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


_forkers: list[_Forker] = []
_first: dict[str, str] = {}


def begin_with(environment):
    """The environment of the tests, before any of them has changed it."""
    _first.update(environment)


def without_gpu():
    """An environment in which torch finds no GPU: that of the tests where there is none."""
    return {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if torch.cuda.is_available() else {})}


def _usual():
    return _first or dict(os.environ)


@contextlib.contextmanager
def many_commands(environment):
    """Have commands under it forked, and share a server of trials; for one that tests share."""
    if seen_by_trials(environment) == seen_by_trials(_usual()):
        yield environment
        return
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


def started(*words, env=None, cwd=None, session=False, ignored=()):
    """The command in the background, forked, and with its server of trials shared with others.

    With ``session`` it leads a session of its own; ``ignored`` are signals that it is started with.
    """
    words, environment = list(map(str, words)), dict(os.environ if env is None else env)
    forker = _forker_for(environment)
    assert forker is not None, "no process has been started as this environment says"
    return forker.start(words, environment, cwd, session, list(map(int, ignored)))


def _forker_for(environment):
    """The process that serves this environment, which is started if it is that of the tests."""
    for one in _forkers:
        if one.serves(environment):
            return one
    if _startup(_usual()) != _startup(environment):
        return None
    _forkers.append(_Forker(_usual()))
    return _forkers[-1]


def start_forker():
    """Start the process that commands are forked from, for processes that are forked later."""
    _forkers.append(_Forker(dict(os.environ)))


def _captured(code, words, env, timeout, cwd):
    words, environment = list(map(str, words)), dict(os.environ if env is None else env)
    forker = _forker_for(environment)
    if forker is not None:
        return forker.run(words, environment, cwd, timeout, code)
    return subprocess.run(
        [sys.executable, *(("-m", "ffprof") if code is None else ("-c", code)), *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
        check=False,
        cwd=cwd,
    )


def reported(path):
    """The report of a file, less its last line, which names the file."""
    *report, details = ffprof("report", path).stdout.splitlines(keepends=True)
    assert details.startswith("details: ffprof report "), details
    return "".join(report)


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
