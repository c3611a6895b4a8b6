"""Commands in process groups of their own."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ffprof.errors import UsageError
from ffprof.harness.process.command import run_command
from ffprof.harness.process.descendants import has_ended, kill_all


def ran(code, *, limit=20.0, **more):
    return run_command([sys.executable, "-c", code], os.environ, limit, **more)


def ended(pid):
    return not psutil.pid_exists(pid) or has_ended(psutil.Process(pid))


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
    assert ended(pid)


def test_when_it_returns_what_was_killed_has_ended(tmp_path):
    """Not only been told to: who frees much memory takes a moment (CI saw one that still ran)."""
    path, large = tmp_path / "pid", tmp_path / "large.py"
    large.write_text(
        "import os, sys, time\n"
        "held = bytearray(b'1') * (1 << 29)\n"
        f"open({str(path)!r} + '.new', 'w').write(str(os.getpid()))\n"
        f"os.rename({str(path)!r} + '.new', {str(path)!r})\n"
        "time.sleep(60)\n"
    )
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, {str(large)!r}], start_new_session=True)\n"
        "time.sleep(60)\n"
    )
    ran(code, limit=60.0, is_done=path.exists, grace_seconds=0.0)
    assert ended(int(path.read_text()))


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
    assert ended(pid)


def test_one_that_is_done_is_not_waited_for():
    ending = ran("import time; time.sleep(60)", is_done=lambda: True, grace_seconds=0.2)
    assert not ending.late
    assert ending.seconds < 20


def test_a_program_that_is_not_there_is_one_line():
    with pytest.raises(UsageError, match="cannot be started"):
        run_command(["no-such-program"], os.environ, 1.0)


def test_what_is_started_while_others_are_killed_is_killed_too():
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    started = [subprocess.Popen(words) for _ in range(2)]
    found = [[psutil.Process(one.pid) for one in started[:count]] for count in (1, 2)]
    kill_all(lambda: found.pop(0) if len(found) > 1 else found[0])
    assert all(ended(one.pid) for one in started)
    assert [one.wait() for one in started] == [-signal.SIGKILL] * 2


def test_a_process_whose_first_thread_has_ended_still_runs():
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('there', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    one = psutil.Process(process.pid)
    deadline = time.monotonic() + 30
    while one.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert one.status() == psutil.STATUS_ZOMBIE
    assert not has_ended(one)
    kill_all(lambda: [one])
    assert has_ended(one)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
