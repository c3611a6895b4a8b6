"""Proving that the null device works, without one: what keeps it from working is one line."""

import json
import subprocess

import pytest

from ffprof.errors import NullDeviceError
from ffprof.nulldevice import proof
from ffprof.nulldevice.description import VARIABLE


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The device is there; a step on it ends as is said."""
    monkeypatch.setattr(proof, "is_built", lambda: True)
    monkeypatch.setattr(proof, "library", lambda: tmp_path)
    monkeypatch.setattr(proof, "environment", lambda device, folder: {})

    def ends(stdout="", stderr="", code=0):
        done = subprocess.CompletedProcess([], code, stdout, stderr)
        monkeypatch.setattr(proof.subprocess, "run", lambda *words, **more: done)
        return proof.prove()

    return ends


def test_a_step_that_takes_what_its_weights_do_is_a_proof(ran):
    found = ran(json.dumps([2 * 4 * (256 * 256 + 256), 0.25]) + "\n")
    assert (found.problem, found.step_seconds, found.build_seconds) == ("", 0.25, None)


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        (("[1024, 0.1]",), "took 1024 bytes"),
        (("",), "no figures"),
        (("", "Traceback\n\nRuntimeError: no CUDA\x1b[2J\n", 1), "RuntimeError: no CUDA"),
        (("", "", -11), "exit status -11"),
    ],
)
def test_a_step_that_fails_is_one_line(ran, ending, word):
    found = ran(*ending)
    assert word in found.problem
    assert found.problem.isprintable()
    assert found.fix
    assert found.folder


def test_without_a_compiler_nothing_is_built_and_nothing_is_left(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "/nowhere/g++")
    said = []
    found = proof.prove(said.append)
    assert not found.folder
    assert found.problem
    assert found.fix
    assert not list(tmp_path.rglob("*.so"))


def test_a_build_is_announced_and_timed(monkeypatch, tmp_path):
    def fails():
        raise NullDeviceError("it does not work", "mend it")

    monkeypatch.setattr(proof, "is_built", lambda: False)
    monkeypatch.setattr(proof, "library", lambda: tmp_path)
    monkeypatch.setattr(proof, "_step", fails)
    said = []
    found = proof.prove(said.append)
    assert said == ["compiling the null device, once ..."]
    assert found.build_seconds is not None
    assert (found.problem, found.fix) == ("it does not work", "mend it")


def test_inside_a_null_device_there_is_nothing_to_prove(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/a/device")
    assert proof.prove() is None
