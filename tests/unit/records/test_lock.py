import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from ffprof.errors import StoreError
from ffprof.records.files import lock_path, new_path, writing


def test_a_second_writer_is_refused_and_nothing_is_left(tmp_path):
    path = tmp_path / "audit-x.json"
    with writing(path):
        refused = pytest.raises(StoreError, match=r"another audit is writing .*audit-x\.json")
        with refused, writing(path):
            pass
        with writing(tmp_path / "audit-y.json"):
            pass
    assert list(tmp_path.iterdir()) == []
    with writing(path):
        pass


def test_the_lock_is_free_after_an_error(tmp_path):
    path = tmp_path / "audit.json"
    with pytest.raises(ValueError, match="mine"), writing(path):
        raise ValueError("mine")
    with writing(path):
        pass


def test_a_killed_writer_locks_nothing(tmp_path):
    path = tmp_path / "audit.json"
    code = (
        "import os, pathlib; from ffprof.records.files import writing\n"
        f"with writing(pathlib.Path({str(path)!r})): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert lock_path(path).exists()
    with writing(path):
        pass
    assert not lock_path(path).exists()


def test_a_lock_that_its_holder_has_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Between opening and locking, the last holder may have removed the file."""
    import fcntl

    path = tmp_path / "audit.json"
    real, calls = fcntl.flock, []

    def flock(descriptor, how):
        calls.append(how)
        if len(calls) == 1:
            lock_path(path).unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with writing(path):
        assert len(calls) == 2
        assert lock_path(path).exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="cannot write"), writing(tmp_path / "no" / "a.json"):
        pass


def test_no_two_results_of_one_second_have_the_same_path(tmp_path):
    now, taken = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), set()
    for _ in range(3):
        path = new_path(tmp_path, "audit", "smoke-cpu", now)
        assert path.name.startswith(f"audit-smoke-cpu-20260102-030405-{os.getpid()}")
        path.touch()
        taken.add(path)
    assert len(taken) == 3


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_one_line_and_nothing_is_made(kind, tmp_path):
    path, target = tmp_path / "audit-a.json", tmp_path / "somebody's"
    side = lock_path(path)
    if kind == "link":
        side.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(side)
    else:
        side.mkdir()
    with pytest.raises(StoreError), writing(path):
        pass
    assert not target.exists()
    assert os.path.lexists(side)
