"""Runs the real command line in a real process."""

import atexit
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


class _Forker:
    """One process for all commands of these tests; see ``forked``."""

    def __init__(self):
        self._path = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.end)

    def end(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def serves(self):
        """Whether a command started afresh would import what this process has imported."""
        return self._process.poll() is None and self._path == os.environ.get("PYTHONPATH")

    def run(self, words, cwd, timeout):
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            out.touch()
            err.touch()
            asked = {
                "words": words, "cwd": str(cwd or Path.cwd()), "env": dict(os.environ),
                "out": str(out), "err": str(err),
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


def ffprof(*words, env=None, timeout=240, cwd=None):
    """The command, captured; forked unless it has an environment of its own."""
    words = list(map(str, words))
    if env is None:
        if not (_forkers and _forkers[-1].serves()):
            _forkers.append(_Forker())
        return _forkers[-1].run(words, cwd, timeout)
    return subprocess.run(
        [sys.executable, "-m", "ffprof", *words],
        capture_output=True,
        text=True,
        env=env,
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
