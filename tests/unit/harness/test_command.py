"""Commands in process groups of their own."""

import os
import sys

import psutil
import pytest

from ffprof.errors import UsageError
from ffprof.harness.process.command import run_command


def ran(code, *, limit=20.0, **more):
    return run_command([sys.executable, "-c", code], os.environ, limit, **more)


def test_what_it_prints_goes_to_standard_error_and_its_end_is_kept(capfd):
    ending = ran("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (ending.status, ending.late) == (3, False)
    told = capfd.readouterr()
    assert told.out == ""
    assert {"out", "err"} <= set(told.err.split())
    assert ending.last_line in ("out", "err")


def test_a_limit_ends_it_and_what_left_its_group(tmp_path):
    path = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True)\n"
        f"open({str(path)!r}, 'w').write(str(one.pid))\n"
        "time.sleep(60)\n"
    )
    assert ran(code, limit=2.0).late
    pid = int(path.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_who_outlives_the_command_is_found_by_its_variable(tmp_path):
    path = tmp_path / "pid"
    code = (
        "import subprocess, sys\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        f"open({str(path)!r}, 'w').write(str(one.pid))\n"
    )
    environment = os.environ | {"MARKED": str(tmp_path)}
    words = [sys.executable, "-c", code]
    assert run_command(words, environment, 20.0, marked_by="MARKED").status == 0
    pid = int(path.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_one_that_is_done_is_not_waited_for():
    ending = ran("import time; time.sleep(60)", is_done=lambda: True, grace_seconds=0.2)
    assert not ending.late
    assert ending.seconds < 20


def test_a_program_that_is_not_there_is_one_line():
    with pytest.raises(UsageError, match="cannot be started"):
        run_command(["no-such-program"], os.environ, 1.0)
