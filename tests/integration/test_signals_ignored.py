"""A command that is started with SIGHUP ignored, as by ``nohup``, outlives its terminal."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import TINY, only_record, started

ROOT = Path(__file__).resolve().parents[2]
SAYS = """
import signal, sys
from ffprof.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print(ended.code, *(getattr(signal.getsignal(n), "name", "handled") for n in (1, 15)))
"""


def ignore_hangups():
    """As ``nohup`` does before it becomes the command."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--resume", "absent.json"],
        ["frontier", "--resume", "absent.json"],
        ["calibrate", "--from", "absent.json"],
        ["check", "--baseline", "absent.json"],
    ],
    ids=lambda words: words[0],
)
def test_only_what_is_not_ignored_is_handled(words, tmp_path):
    told = {}
    for name, before in (("nohup", ignore_hangups), ("plain", None)):
        done = subprocess.run(
            [sys.executable, "-c", SAYS, *words], preexec_fn=before,
            capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
        )  # fmt: skip
        told[name] = done.stdout.split()
    assert told == {"nohup": ["2", "SIG_IGN", "handled"], "plain": ["2", "handled", "handled"]}


def test_a_run_under_nohup_is_finished(tmp_path):
    words = ["run", *TINY, "--workloads", "bp", "--rounds", "3", "--out", tmp_path]
    process = started(*words, ignored=[signal.SIGHUP], cwd=ROOT)
    while process.poll() is None and not list(tmp_path.glob("audit-*.json")):
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert only_record(tmp_path).missing() == []
