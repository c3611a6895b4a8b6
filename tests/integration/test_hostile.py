"""Workloads that misbehave spoil their own row and nothing else."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from command import TINY, ffprof, only_record, outcomes, started
from plugins import install_hostile

LIMITS = {"trial": ("--time-limit", 8), "run": ("--rounds", 2, "--run-limit", 15)}


@pytest.fixture(autouse=True, scope="module")
def limited(hostile_env, tmp_path_factory):
    """Audits that come to their limits while other tests run: both only wait for a trial to end."""
    found = {}
    for name, more in LIMITS.items():
        folder = tmp_path_factory.mktemp("limited")
        words = (*TINY, "--rounds", 1, "--workloads", "bp,hang", "--out", folder, *more)
        found[name] = started("run", *words, env=hostile_env), folder
    yield found
    for running, _ in found.values():  # if nobody has waited for them
        running.kill()
        running.wait(timeout=200)


def audit(env, folder, *workloads, rounds=1, more=()):
    done = ffprof(
        "run", *TINY, "--rounds", rounds, "--workloads", ",".join(workloads),
        "--out", folder, *more,
        env=env,
    )  # fmt: skip
    return done, only_record(folder)


def test_every_ending_is_an_outcome_and_the_others_are_measured(hostile_env, tmp_path):
    names = ["bp", "crash", "segfault", "out-of-memory", "exit", "silent", "refuses"]
    names += ["other-weights", "changes-flags", "diverges", "learns-nothing", "own-backbone"]
    names += ["no-backward", "part-of-the-batch", "own-precision", "unreadable"]
    names += ["surrogate", "own-step-behind", "edges-of-the-batch"]
    done, record = audit(hostile_env, tmp_path / "out", *names)
    assert done.returncode == 0, done.stderr
    assert outcomes(record) == {
        "bp": "ok",
        "crash": "crashed",
        "segfault": "crashed",
        "out-of-memory": "oom",
        "exit": "crashed",
        "silent": "crashed",
        "refuses": "refused",
        "other-weights": "refused",
        "changes-flags": "refused",
        "diverges": "ok",
        "learns-nothing": "ok",
        "own-backbone": "ok",
        "no-backward": "refused",
        "part-of-the-batch": "refused",
        "own-precision": "refused",
        "unreadable": "crashed",
        "surrogate": "crashed",
        "own-step-behind": "refused",
        "edges-of-the-batch": "refused",
    }
    assert "\x1b" not in done.stdout
    said = {t.workload: t.message for t in record.trials}
    assert "with a second line" in said["crash"]
    assert "SIGSEGV" in said["segfault"]
    assert "exit status 7" in said["exit"]
    assert "memory" in said["out-of-memory"]
    assert "full moon" in said["refuses"]
    assert "shared weights" in said["other-weights"]
    assert "cudnn_benchmark" in said["changes-flags"]
    flowed = " ".join(done.stdout.split())
    assert "diverges: its loss is not finite; it cannot win a claim" in flowed
    assert "learns-nothing: its loss did not fall; it cannot win a claim" in flowed
    assert record.ledger["own-backbone"].facts["backbone"] == "own: unmatched"
    shown = ffprof("report", tmp_path / "out", "-f", "markdown").stdout
    assert "\n| own-backbone | own: unmatched |\n" in shown
    assert "Traceback" not in done.stderr


def test_nothing_measured_is_code_3_and_the_record_says_why(hostile_env, tmp_path):
    done, record = audit(hostile_env, tmp_path / "out", "crash")
    assert done.returncode == 3
    assert "no trial gave a number" in done.stderr
    assert outcomes(record) == {"crash": "crashed"}


def test_a_recipe_that_all_refuse_is_a_usage_error(hostile_env, tmp_path):
    done = ffprof("run", *TINY, "--workloads", "refuses", "--out", tmp_path / "o", env=hostile_env)
    assert done.returncode == 2
    assert "full moon" in done.stderr


@pytest.mark.parametrize("name", ["broken", "wrong-type", "alias", "raises", "bad-check"])
def test_a_broken_registration_is_one_line(name, hostile_env, tmp_path):
    done = ffprof("run", *TINY, "--workloads", name, "--out", tmp_path / "o", env=hostile_env)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert name in done.stderr


def test_broken_registrations_are_listed_with_the_others(hostile_env):
    listed = ffprof("workloads", env=hostile_env)
    assert listed.returncode == 0
    broken = [line for line in listed.stdout.splitlines() if "not usable" in line]
    for name in ("broken", "wrong-type", "alias", "raises"):
        assert any(name in line for line in broken), name
    assert "learns-nothing" in listed.stdout


def test_a_name_that_two_packages_register_is_refused(tmp_path):
    env = install_hostile(tmp_path / "site")
    info = tmp_path / "site" / "impostor-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: impostor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ffprof.workloads]\nbp = hostile_workloads:CRASH\n")
    done = ffprof("run", *TINY, "--workloads", "bp", "--out", tmp_path / "o", env=env)
    assert done.returncode == 2
    assert "registered more than once, by ffprof, impostor" in done.stderr


def test_a_forgotten_thread_does_not_make_a_trial_late(hostile_env, tmp_path):
    pids = no_pids(hostile_env)
    _, record = audit(hostile_env, tmp_path / "out", "daemon", more=["--time-limit", 60])
    assert outcomes(record) == {"daemon": "ok"}
    assert record.trials[0].conditions.wall_seconds < 50
    for pid in pids.read_text().split():
        subprocess.run(["kill", "-9", pid], check=False)


def no_pids(env):
    """Where hostile trials write down their processes, emptied."""
    file = Path(env["HOSTILE_PIDS"])
    file.unlink(missing_ok=True)
    return file


class Running:
    """An audit in the background whose hostile trial has written down its processes.

    One that is started afresh has a server of its own, which must end with it.
    """

    def __init__(self, env, tmp_path, *workloads, rounds=1, afresh=False):
        self.pids_file = no_pids(env)
        self.folder = tmp_path / "out"
        words = ["run", *TINY, "--rounds", rounds, "--workloads", ",".join(workloads)]
        words += ["--out", self.folder]
        if not afresh:
            self.process = started(*words, env=env, session=True)
            return
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ffprof", *map(str, words)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_trial(self, least=2):
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            if self.pids_file.exists():
                found = [int(word) for word in self.pids_file.read_text().split()]
                if len(found) >= least:
                    return found
            time.sleep(0.05)
        raise AssertionError(f"no trial began: {self.process.communicate(timeout=5)}")

    def everything(self):
        return [p.pid for p in psutil.Process(self.process.pid).children(recursive=True)]


def all_gone(pids, seconds=200.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if psutil.pid_exists(pid)]
        alive = [p for p in alive if psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return True
        time.sleep(0.05)
    return False


def starting(folder, moment):
    words = ["run", *TINY, "--out", str(folder)]
    if moment == "measures":  # its server has long started, and ends as at the moment before
        return started(*words, session=True)
    return subprocess.Popen(
        [sys.executable, "-m", "ffprof", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def below(process, wanted):
    """Whether a process that it has started, itself or through another, is as wanted."""
    with contextlib.suppress(psutil.Error):
        return any(map(wanted, psutil.Process(process.pid).children(recursive=True)))
    return False


def is_server(child):
    return "forkserver" in " ".join(child.cmdline())


def has_torch(child):
    return is_server(child) and any("libtorch" in m.path for m in child.memory_maps())


def is_forked(child):
    return is_server(child) and is_server(child.parent())


MOMENTS = {
    "starts the server": lambda process, out: below(process, is_server),
    "has it import torch": lambda process, out: below(process, has_torch),
    "runs a child": lambda process, out: below(process, is_forked),
    "measures": lambda process, out: any(out.glob("audit-*.json")),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_while_starting_is_quiet(moment, tmp_path):
    """As a terminal does it: the whole group gets the signal, the server too. Two at once."""
    ends = {signal.SIGINT: 130, signal.SIGTERM: 143}
    processes = {number: starting(tmp_path / number.name, moment) for number in ends}
    for number, process in processes.items():
        deadline = time.monotonic() + 120
        while not MOMENTS[moment](process, tmp_path / number.name):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        family = [p.pid for p in psutil.Process(process.pid).children(recursive=True)]
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
        _, err = process.communicate(timeout=200)
        assert process.returncode in (ends[number], -number), err
        assert "Traceback" not in err
        assert all_gone([process.pid, *family])


def test_a_process_that_leaves_the_group_ends_with_the_audit(hostile_env, tmp_path):
    running = Running(hostile_env, tmp_path, "lingers")
    (daemon, *_) = running.wait_for_trial(least=1)
    os.kill(running.process.pid, signal.SIGINT)
    running.process.communicate(timeout=200)
    assert all_gone([daemon])


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_an_interrupt_ends_everything_and_keeps_what_is_done(number, code, hostile_env, tmp_path):
    afresh = number == signal.SIGHUP  # the others are sent to such ones as they start, above
    running = Running(hostile_env, tmp_path, "bp", "with-worker", rounds=2, afresh=afresh)
    worker, trial = running.wait_for_trial()
    pids = {worker, trial, *running.everything()}
    os.kill(running.process.pid, number)
    out, err = running.process.communicate(timeout=200)
    assert running.process.returncode == code, err
    assert all_gone(pids)
    if number != signal.SIGHUP:  # its terminal has gone
        assert "stopped early: interrupted" in err
        assert "missing trials" in err
        assert "Traceback" not in out + err
    records = list(running.folder.glob("audit-*.json"))
    if records:  # round 1 is shuffled: bp may have come first
        record = only_record(running.folder)
        assert outcomes(record) == {"bp": "ok"}
        assert (0, "with-worker") in record.missing()
    assert not [p for p in running.folder.iterdir() if p.name.startswith(".")]


def test_a_killed_parent_takes_its_trials_and_their_workers_along(hostile_env, tmp_path):
    running = Running(hostile_env, tmp_path, "with-worker", afresh=True)
    pids = {*running.wait_for_trial(), *running.everything()}
    running.process.kill()
    running.process.communicate(timeout=200)
    assert all_gone(pids)


def test_a_trial_that_is_killed_is_a_crashed_row_and_the_others_remain(hostile_env, tmp_path):
    running = Running(hostile_env, tmp_path, "bp", "with-worker", "dtg-ff")
    worker, trial = running.wait_for_trial()
    os.kill(trial, signal.SIGKILL)
    _, err = running.process.communicate(timeout=200)
    assert running.process.returncode == 0, err
    record = only_record(running.folder)
    assert outcomes(record) == {"bp": "ok", "with-worker": "crashed", "dtg-ff": "ok"}
    (message,) = [t.message for t in record.trials if t.workload == "with-worker"]
    assert "SIGKILL" in message
    assert all_gone({worker, trial})


def test_a_trial_over_its_limit_is_a_timeout(limited):
    running, folder = limited["trial"]
    _, err = running.communicate(timeout=200)
    assert outcomes(only_record(folder)) == {"bp": "ok", "hang": "timeout"}, err


def test_the_runs_limit_keeps_what_is_done_and_names_what_is_missing(limited):
    running, folder = limited["run"]
    _, err = running.communicate(timeout=200)
    assert running.returncode == 0, err
    record = only_record(folder)
    assert "hang" not in outcomes(record)
    assert (0, "hang") in record.missing()
    assert "stopped early: the run's time limit is over" in err
