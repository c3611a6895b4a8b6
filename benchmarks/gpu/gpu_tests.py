"""Runs a file of GPU tests, and goes on where an earlier call was stopped.

    python benchmarks/gpu/gpu_tests.py PASSED-FILE TEST-FILE

The first file keeps what has passed, one name a line; that is not run again. Exit codes are
pytest's, and 6 if no test passed in any call: a suite that was skipped has shown nothing.
"""

import sys
from pathlib import Path

import pytest

NOTHING_SHOWN = 6


class Passed:
    """Keeps the names of tests that passed, at once, so that a kill loses none."""

    def __init__(self, file):
        self.file = file
        self.names = set(file.read_text().splitlines()) if file.exists() else set()

    def pytest_collection_modifyitems(self, config, items):
        """Leave out what has passed."""
        done = [item for item in items if item.nodeid in self.names]
        if done:
            config.hook.pytest_deselected(items=done)
            items[:] = [item for item in items if item.nodeid not in self.names]

    def pytest_runtest_logreport(self, report):
        """Keep a test that passes."""
        if report.when == "call" and report.passed:
            self.names.add(report.nodeid)
            with self.file.open("a") as stream:
                stream.write(report.nodeid + "\n")


def main():
    passed = Passed(Path(sys.argv[1]))
    earlier = len(passed.names)
    code = pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[2]], plugins=[passed])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED and earlier:
        code = 0  # all had passed before
    if code == 0 and not passed.names:
        print(f"no test of {sys.argv[2]} passed: they were skipped, and nothing is shown")
        code = NOTHING_SHOWN
    sys.exit(code)


if __name__ == "__main__":
    main()
