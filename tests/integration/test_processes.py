"""Child processes: every ending, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver

import psutil
import pytest

from ffprof.errors import UsageError
from ffprof.harness.process.child import OutputFile, _enter, run_child, start_context

pytestmark = pytest.mark.parametrize("method", ["forkserver", "spawn"])


def answers(sender, value):
    sender.send(value)
    sender.send(os.getpid())


def raises(sender):
    raise UsageError("the last line", "do this")


def kills_itself(sender, number):
    os.kill(os.getpid(), number)


def sleeps(sender):
    sender.send("asleep")
    time.sleep(600)


def waits_for(sender, file):
    while not os.path.exists(file):  # noqa: PTH110
        time.sleep(0.02)


def leaves_a_worker(sender):
    sender.send(subprocess.Popen(["sleep", "600"]).pid)


def floods(sender):
    for number in range(200):
        sender.send(b"x" * 10_000 + bytes([number]))


def gone(pid, seconds=30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def run(method, target, *args, limit=60, **more):
    return run_child(start_context(method), target, args, limit, **more)


def test_messages_arrive_in_order_from_another_process(method):
    ending = run(method, answers, {"a": 1})
    assert ending.kind == "ended"
    assert ending.messages[0] == {"a": 1}
    assert ending.messages[1] != os.getpid()


def test_messages_are_handed_on_as_they_come(method):
    seen = []
    run(method, answers, 1, on_message=lambda pid, message: seen.append((pid, message)))
    (pid, first), (_, second) = seen
    assert (first, second) == (1, pid)


def test_many_large_messages_are_all_kept(method):
    ending = run(method, floods)
    assert len(ending.messages) == 200


def test_an_error_is_a_crash_with_its_last_line(method):
    ending = run(method, raises)
    assert ending.kind == "crashed"
    assert ending.reason == "exit status 1: ffprof.errors.UsageError: the last line; do this"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
def test_a_signal_is_a_crash_with_its_name(method, name):
    ending = run(method, kills_itself, getattr(signal, name))
    assert ending.kind == "crashed"
    assert name in ending.reason


def test_the_limit_ends_a_child(method):
    started = time.monotonic()
    ending = run(method, sleeps, limit=3)
    assert time.monotonic() - started < 30
    assert ending.kind == "timeout"
    assert "limit" in ending.reason


def test_workers_end_with_their_trial(method):
    ending = run(method, leaves_a_worker)
    assert ending.kind == "ended"
    assert gone(ending.messages[0])


def test_the_tick_is_called_while_waiting(method, tmp_path):
    """Again and again: the child ends after the tenth."""
    ticks, file = [], tmp_path / "tenth"

    def tick():
        ticks.append(1)
        if len(ticks) == 10:
            file.touch()

    ending = run(method, waits_for, str(file), tick=tick, tick_seconds=0.05)
    assert ending.kind == "ended"
    assert len(ticks) >= 10


@pytest.mark.parametrize(("number", "name"), [(34, "SIGRTMIN"), (40, "SIGRTMIN+6")])
def test_a_signal_without_a_name_is_a_crash_too(method, number, name):
    ending = run(method, kills_itself, number)
    assert (ending.kind, ending.reason) == ("crashed", f"killed by {name}")


def removes_folder(sender, folder):
    print("the last words")
    shutil.rmtree(folder)
    sender.send("done")


def test_a_temporary_folder_that_vanishes_loses_nothing(method, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    ending = run(method, removes_folder, str(folder))
    assert (ending.kind, ending.messages) == ("ended", ("done",))
    ending = run(method, raises)
    assert ending.reason.endswith("UsageError: the last line; do this")


def detaches(sender, crash):
    """A daemon, as it is made: its parent ends, and it leads a session of its own."""
    script = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(600)"
    done = subprocess.run([sys.executable, "-c", script], check=True)
    sender.send(done.returncode)
    deadline = time.monotonic() + 60
    while not (found := psutil.Process().children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    sender.send([one.pid for one in found])
    if crash:
        os.kill(os.getpid(), signal.SIGSEGV)


def test_a_daemon_ends_with_its_trial(method):
    ending = run(method, detaches, False)
    (pid,) = ending.messages[1]
    assert gone(pid, 5)


ADOPTS = """
import sys
sys.path[:0] = {path!r}
from ffprof.harness.process.child import run_child, start_context
from ffprof.harness.process.descendants import adopt_orphans
import test_processes as t
if __name__ == "__main__":
    adopt_orphans()
    ending = run_child(start_context({method!r}), t.detaches, (True,), 60)
    print(ending.reason, *ending.messages[1])
"""


def test_a_daemon_of_a_trial_that_is_killed_ends_with_it(method, tmp_path):
    script = tmp_path / "adopts.py"
    here = os.path.dirname(__file__)  # noqa: PTH120
    script.write_text(ADOPTS.format(path=[here], method=method))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    *_, name, pid = done.stdout.split()
    assert name == "SIGSEGV"
    assert gone(int(pid), 0.1)


def test_a_server_that_was_killed_is_started_again(method):
    context = start_context(method)
    run_child(context, answers, (1,), 60)
    if method == "forkserver":
        server = forkserver._forkserver._forkserver_pid
        os.kill(server, signal.SIGKILL)
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    assert run_child(context, answers, (2,), 60).messages[0] == 2


STARTS = """
import sys, time
from ffprof.harness.process.child import start_context
if __name__ == "__main__":
    start_context({method!r})
    print("started", flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_of_a_command_that_is_killed_as_it_starts(method, tmp_path):
    """Its server is in the middle of importing torch."""
    script, temporary = tmp_path / "starts.py", tmp_path / "temporary"
    temporary.mkdir()
    script.write_text(STARTS.format(method=method))
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert parent.stdout.readline() == "started\n"
    family = [one.pid for one in psutil.Process(parent.pid).children(recursive=True)]
    parent.kill()
    parent.communicate()
    assert family or method == "spawn"
    assert all(gone(pid, 5) for pid in family)
    assert list(temporary.iterdir()) == []


HOLDS = """
import time
from ffprof.harness.process.folder import temporary_folder
with temporary_folder() as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_temporary_folder_is_gone_with_its_process(method, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    folder = holder.stdout.readline().strip()
    assert os.listdir(folder) == ["file"]  # noqa: PTH208
    holder.kill()
    holder.communicate()
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []


PARENT = """
import sys, time
sys.path[:0] = {path!r}
from ffprof.harness.process.child import run_child, start_context
import test_processes as t
if __name__ == "__main__":
    run_child(start_context({method!r}), t.sleeps_with_worker, ({file!r},), 600)
"""


def sleeps_with_worker(sender, file):
    worker = subprocess.Popen(["sleep", "600"])
    with open(file + ".new", "w") as out:  # noqa: PTH123
        out.write(f"{os.getpid()} {os.getppid()} {worker.pid}")
    os.rename(file + ".new", file)  # noqa: PTH104
    time.sleep(600)


def test_a_parent_that_is_killed_takes_everything_along(method, tmp_path):
    file = tmp_path / "pids"
    script = tmp_path / "parent.py"
    here = os.path.dirname(__file__)  # noqa: PTH120
    script.write_text(PARENT.format(path=[here], method=method, file=str(file)))
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 200
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(word) for word in file.read_text().split()]
    assert all(psutil.pid_exists(pid) for pid in pids)
    family = [p.pid for p in psutil.Process(parent.pid).children(recursive=True)]
    parent.kill()
    parent.wait()
    pids = sorted({*pids, *family} - {parent.pid, os.getpid()})
    assert all(gone(pid) for pid in pids)


def test_a_child_that_starts_after_its_parent_gave_up_is_silent(method, capfd):
    """A server that is still importing starts it when nobody waits for it any more."""
    context = start_context(method)
    receiver, sender = context.Pipe(duplex=False)
    receiver.close()
    output = OutputFile()
    child = context.Process(target=_enter, args=(sender, output.end(), None, print, ()))
    child.start()
    child.join(60)
    assert child.exitcode == 1
    assert output.tail() == ""
    assert capfd.readouterr() == ("", "")
