"""Folders that go away while a command writes: what is done is kept, and one line says where."""

import re
import shutil
import time
from pathlib import Path

import pytest
from command import TINY, ffprof, outcomes, started

from ffprof import load


def deleted(folder):
    shutil.rmtree(folder)


def replaced(folder):
    shutil.rmtree(folder)
    folder.write_text("")


@pytest.mark.parametrize("change", [deleted, replaced])
def test_an_output_folder_that_is_gone(change, tmp_path):
    out, here = tmp_path / "out", tmp_path / "here"
    here.mkdir()
    words = ["run", *TINY, "--rounds", "4", "--workloads", "bp", "--out", out]
    running = started(*words, cwd=here)
    deadline = time.monotonic() + 200
    while not list(out.glob("audit-*.json")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    (name,) = [file.name for file in out.glob("audit-*.json")]
    change(out)
    _, err = running.communicate(timeout=200)
    assert running.returncode == 2, err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "error" in line]
    (kept,) = re.findall(r"what was done is kept in (\S+)", line)
    assert Path(kept) == here / name
    record = load(kept)
    assert outcomes(record) == {"bp": "ok"}
    if out.exists():
        out.unlink()
    done = ffprof("run", "--resume", kept, cwd=here)
    assert done.returncode == 0, done.stderr
    assert load(kept).missing() == []


def test_an_output_file_that_has_become_a_folder(tmp_path):
    words = ["run", *TINY, "--rounds", "3", "--workloads", "bp", "--out", tmp_path / "out"]
    running = started(*words, cwd=tmp_path)
    deadline = time.monotonic() + 200
    while not (files := list((tmp_path / "out").glob("audit-*.json"))):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    files[0].unlink()
    files[0].mkdir()
    _, err = running.communicate(timeout=200)
    assert running.returncode == 2, err
    assert "what was done is kept in" in err
    assert [one.name for one in (tmp_path / "out").iterdir()] == [files[0].name]
