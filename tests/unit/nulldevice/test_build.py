"""Where the device is built and kept, and what is said when it cannot be."""

import os
import sys
import threading
import time
from dataclasses import replace

import pytest

from ffprof.errors import NullDeviceError
from ffprof.nulldevice import build as module
from ffprof.nulldevice.compiler import find_compiler, run_compiler
from ffprof.nulldevice.installation import Installation, find_installation


@pytest.fixture
def installation(tmp_path):
    return Installation(
        torch="2.14.1+cu130", cuda="13.0", libraries=tmp_path / "lib", headers=(tmp_path,)
    )


@pytest.fixture
def cache(tmp_path, monkeypatch, installation):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "find_installation", lambda: installation)
    monkeypatch.setattr(module, "find_compiler", lambda: ("c++",))
    return tmp_path / "cache" / "ffprof" / "nulldevice"


def make(folder, *_):
    (folder / module.NAME).write_text("whole")


def test_it_is_built_once_and_found_again(cache, monkeypatch):
    monkeypatch.setattr(module, "compile_device", make)
    folder = module.library()
    assert folder.parent == cache
    assert folder.name.startswith("torch-2.14.1+cu130-cuda-13.0-")
    monkeypatch.setattr(module, "compile_device", None)
    assert module.library() == folder


def test_another_torch_or_source_is_another_build(cache, installation, tmp_path):
    before = module._folder(installation)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtorch_cuda.so").write_text("new")
    assert module._folder(installation) != before


def test_a_build_that_fails_leaves_nothing(cache, monkeypatch):
    def fail(folder, *_):
        make(folder)
        raise NullDeviceError("g++ cannot", "try another")

    monkeypatch.setattr(module, "compile_device", fail)
    with pytest.raises(NullDeviceError, match="g\\+\\+ cannot"):
        module.library()
    assert list(cache.iterdir()) == []


def test_a_torch_that_was_not_tried_is_attempted_and_told(cache, monkeypatch, installation):
    other = replace(installation, torch="9.9.0")
    monkeypatch.setattr(module, "find_installation", lambda: other)
    monkeypatch.setattr(module, "compile_device", make)
    assert module.library().name.startswith("torch-9.9.0-")

    def fail(*_):
        raise NullDeviceError("g++ cannot", "try another")

    monkeypatch.setattr(module, "compile_device", fail)
    monkeypatch.setattr(module, "find_installation", lambda: replace(other, torch="9.9.1"))
    with pytest.raises(NullDeviceError, match=r"torch 9\.9\.1 has not been tried; 2\.14 has"):
        module.library()


def test_builds_at_once_end_with_one_that_is_whole(cache, monkeypatch):
    barrier = threading.Barrier(3)

    def build(folder, *_):
        barrier.wait(timeout=10)
        make(folder)

    monkeypatch.setattr(module, "compile_device", build)
    found = []
    threads = [threading.Thread(target=lambda: found.append(module.library())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert list(cache.iterdir()) == [found[0]]


def test_what_a_killed_build_left_is_swept_when_it_is_old(cache, monkeypatch):
    monkeypatch.setattr(module, "compile_device", make)
    for name, age in ((".build-old", 7200), (".build-now", 0)):
        (cache / name).mkdir(parents=True)
        then = time.time() - age
        os.utime(cache / name, (then, then))
    module.library()
    assert sorted(p.name for p in cache.glob(".build-*")) == [".build-now"]


def test_a_cache_that_cannot_be_written_is_one_line(cache, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(NullDeviceError, match=r"cannot be kept in .*; set XDG_CACHE_HOME"):
        module.library()


def fake_torch(folder, cuda, version="2.14.1"):
    torch = folder / "torch"
    (torch / "lib").mkdir(parents=True)
    (torch / "version.py").write_text(
        f"__version__ = '{version}'\ncuda: Optional[str] = {cuda!r}\n"
    )
    return torch


def test_a_torch_without_cuda_is_refused(tmp_path):
    with pytest.raises(NullDeviceError, match=r"needs a CUDA build of torch, which 2\.14\.1 is"):
        find_installation(fake_torch(tmp_path, None))
    with pytest.raises(NullDeviceError, match="CUDA build"):  # says so, but has no library
        find_installation(fake_torch(tmp_path / "other", "13.0"))


def test_headers_of_both_generations_of_wheels_are_found(tmp_path):
    torch = fake_torch(tmp_path, "12.8", "9.9.0")
    (torch / "lib" / "libtorch_cuda.so").write_text("")
    with pytest.raises(NullDeviceError, match="cuda_runtime_api"):
        find_installation(torch)
    for name in ("cuda_runtime", "cudnn"):
        (tmp_path / "nvidia" / name / "include").mkdir(parents=True)
    (tmp_path / "nvidia" / "cuda_runtime" / "include" / "cuda_runtime_api.h").write_text("")
    found = find_installation(torch)
    assert [place.parent.name for place in found.headers] == ["cuda_runtime", "cudnn"]
    assert found.cuda_number == 12080
    assert not found.is_tested


def test_a_compiler_is_named_or_found(tmp_path):
    for name in ("g++", "clang++", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    here = {"PATH": str(tmp_path)}
    assert find_compiler(here) == ("g++",)
    assert find_compiler({**here, "CXX": "mine -O0"}) == ("mine", "-O0")
    with pytest.raises(NullDeviceError, match="CXX names the compiler other"):
        find_compiler({**here, "CXX": "other"})


def test_without_a_compiler_the_wheel_is_taken_or_named(tmp_path, monkeypatch):
    nothing = {"PATH": str(tmp_path)}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NullDeviceError, match=r"no C\+\+ compiler.*ffprof\[null\]"):
        find_compiler(nothing)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert find_compiler(nothing) == (sys.executable, "-m", "ziglang", "c++")


def test_the_first_error_of_a_compiler_is_told(tmp_path):
    fails = tmp_path / "fails"
    fails.write_text("#!/bin/sh\necho 'In file x' >&2\necho 'x.cpp:1: error: no' >&2\nexit 1\n")
    fails.chmod(0o755)
    with pytest.raises(
        NullDeviceError, match=r"fails cannot compile the null device: x.cpp:1: err"
    ):
        run_compiler([str(fails)], ["-c"], ["-c"])
