"""Runs tests/gpu on the null device that this process is on, and tells how each test ended.

    python gpu_tests_on_null.py RESULTS [FILE ...]

A line of JSON a test is appended to RESULTS: its name, outcome and what is to be said of it. What
takes long is done once, before: torch is imported, and the process is started from which commands
are forked. Each file is then run in a fork of its own, so that it finds a GPU that nobody uses.
"""

import gc
import importlib
import json
import os
import sys
from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
NAMES = ("torch", "hypothesis", "pytest")


class Told:
    """Keeps what pytest reports, at once, so that a crash loses nothing that was."""

    def __init__(self, path):
        self._path = path

    def keep(self, name, outcome, text, seconds=0.0):
        told = {"test": name, "outcome": outcome, "text": text, "seconds": round(seconds, 2)}
        line = json.dumps(told)
        with self._path.open("a") as stream:
            stream.write(line + "\n")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            skipped = report.outcome == "skipped" and isinstance(report.longrepr, tuple)
            text = report.longrepr[2] if skipped else report.longreprtext
            self.keep(report.nodeid, report.outcome, text, report.duration)

    def pytest_collectreport(self, report):
        if report.outcome == "failed":
            self.keep(report.nodeid, report.outcome, report.longreprtext)


def main():
    results, files = Path(sys.argv[1]), sys.argv[2:]
    sys.path.insert(0, str(SUPPORT))
    for name in NAMES:
        importlib.import_module(name)
    command = importlib.import_module("command")
    command.start_forker()
    gc.collect()
    gc.freeze()
    for file in files or sorted(map(str, (ROOT / "tests" / "gpu").glob("test_*.py"))):
        pid = os.fork()
        if not pid:
            import pytest

            code = 1
            try:
                words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(ROOT)]
                code = pytest.main(
                    [*words, "-c", str(ROOT / "pyproject.toml"), file], [Told(results)]
                )
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(int(code))
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, 1, 5):  # passed, failed, nothing to be run
            Told(results).keep(file, "failed", f"the tests of {file} ended with {code}")


if __name__ == "__main__":
    main()
