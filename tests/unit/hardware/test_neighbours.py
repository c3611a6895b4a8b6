"""What is said of other programs: real ones, and looks that are told."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from ffprof.hardware.doctor.readers.activity import Look, Process, look
from ffprof.hardware.neighbours import BUSY, watch

TICKS = os.sysconf("SC_CLK_TCK")


def looks(*seconds_of_programs, own=0.0):
    """Two looks, a second apart, between which programs computed for these seconds."""
    for second in (0, 1):
        processes = {
            pid: Process(
                name=f"program {pid}", parent=1, started=5, ticks=round(second * took * TICKS)
            )
            for pid, took in enumerate(seconds_of_programs, start=100)
        }
        ours = Process(name="us", parent=1, started=5, ticks=round(second * own * TICKS))
        yield Look(
            seconds=float(second), processes=processes | {os.getpid(): ours}, total_ticks=None,
            steal_ticks=None, load=None,
        )  # fmt: skip


def told(*seconds, **more):
    found = looks(*seconds, **more)
    return watch("meanwhile", lambda: next(found))().told


def test_the_share_is_of_all_processors():
    found = looks(0.3, 0.9)
    assert watch("meanwhile", lambda: next(found))().share == pytest.approx(1.2 / os.cpu_count())


def test_an_idle_machine_is_not_mentioned():
    assert told() == told(0.1, 0.05) == told(own=2.0) == ""


def test_a_busy_machine_is_told_with_who_takes_how_much():
    text = told(0.2, 0.9)
    assert text.startswith(f"{BUSY}: program 101 (101), program 100 (100) took 1.1 of ")
    assert "quote ratios" in text


def test_of_many_programs_the_busiest_three_are_named():
    assert "program 104 (104), program 103 (103), program 102 (102) and 2 more took" in told(
        0.1, 0.2, 0.3, 0.4, 0.5
    )


def test_a_real_program_is_seen():
    spin = "import time\nwhile time.process_time() < 100: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as other:
        try:
            # As a child of ours it would be left out, as a part of the audit.
            crowd = watch("meanwhile", without_parents)
            time.sleep(2)
            assert crowd().told.startswith(BUSY)
        finally:
            other.kill()


def without_parents():
    found = look()
    processes = {pid: replace(one, parent=1) for pid, one in found.processes.items()}
    return replace(found, processes=processes)
