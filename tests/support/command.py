"""Runs the real command line in a real process."""

import json
import subprocess
import sys
from pathlib import Path

from ffprof import load

TINY = [
    "--preset", "smoke", "--device", "cpu", "--steps", "2", "--threads", "1",
]  # fmt: skip


def ffprof(*words, env=None, timeout=240, **more):
    return subprocess.run(
        [sys.executable, "-m", "ffprof", *map(str, words)],
        capture_output=True,
        text=True,
        env=env,
        timeout=timeout,
        check=False,
        **more,
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
