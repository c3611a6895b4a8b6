"""The lock of a GPU is somebody's file in the temporary folder, and may be anything."""

import os
import socket
import tempfile

import pytest

from ffprof.harness.process.guard import GpuLock, gpu_lock_path

UUID = "GPU-1"


def pipe(path):
    os.mkfifo(path)


def link(path):
    path.symlink_to("/dev/zero")


def bound(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [pipe, link, bound, os.mkdir], ids=lambda make: make.__name__)
def test_what_is_no_file_locks_nothing_and_is_not_waited_for(make, monkeypatch):
    with tempfile.TemporaryDirectory() as folder:  # a short name, for the socket
        monkeypatch.setattr(tempfile, "tempdir", folder)
        make(gpu_lock_path(UUID))
        before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
        lock = GpuLock(UUID)
        assert lock.take() is None
        lock.release()
        assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_file_is_a_lock(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = GpuLock(UUID), GpuLock(UUID)
    assert first.take() is None
    assert second.take() == f"process {os.getpid()}"
    first.release()
    assert second.take() is None
    second.release()
