"""Whatever standard streams are: closed, full, or unable to show a character."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import TINY, ffprof, only_record, outcomes

SMALL = Path(__file__).resolve().parents[2] / "results" / "audit-small-cpu.json"


def shell(redirections, *words, env=None, cwd=None):
    """The command with redirections of a shell."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "ffprof",
         *map(str, words)],
        capture_output=True, text=True, timeout=300, check=False, cwd=cwd,
        env={**os.environ, **(env or {})},
    )  # fmt: skip


def test_a_run_without_any_stream_is_a_run(tmp_path):
    words = [*TINY, "--rounds", 1, "--workloads", "bp", "--out", tmp_path]
    done = shell("<&- >&- 2>&-", "run", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert outcomes(only_record(tmp_path)) == {"bp": "ok"}


@pytest.mark.parametrize(
    ("redirections", "file", "code"),
    [
        (">&-", SMALL, 0),
        ("2>&-", SMALL, 0),
        ("2>&-", "absent.json", 2),
        ("2>/dev/full", "absent.json", 2),
        ("2>/dev/full", SMALL, 0),
        (">/dev/full 2>&-", SMALL, 2),
    ],
)
def test_the_exit_code_is_the_same_whatever_streams_are(redirections, file, code, tmp_path):
    done = shell(redirections, "report", file, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_output_that_is_not_kept_back_is_told_apart_too():
    for redirections, code in ((">/dev/full", 2), ("| true", 0)):
        done = shell(redirections, "report", SMALL, env={"PYTHONUNBUFFERED": "1"})
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        if code:
            assert "the output cannot be written: No space left on device" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "words",
    [
        ["report", SMALL],
        ["report", SMALL, "-f", "markdown"],
        ["report", SMALL, "-f", "json"],
        ["compare", SMALL, SMALL],
        ["workloads"],
        ["cards"],
        ["cards", "RTX4060"],
        ["data"],
        ["paper"],
        ["--help"],
        ["run", "--help"],
    ],
    ids=lambda words: " ".join(map(str, words[:1] + words[2:])),
)
def test_a_console_that_lacks_characters(words, encoding, tmp_path):
    done = shell("", *words, env={"PYTHONIOENCODING": f"{encoding}:strict"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_json_loses_nothing_to_a_console_that_lacks_characters(tmp_path):
    document = json.loads(SMALL.read_text())
    document["notes"] = ["12 × 8 µs, 例"]
    (tmp_path / "audit.json").write_text(json.dumps(document))
    words = ["report", tmp_path / "audit.json", "-f"]
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    done = shell("", *words, "json", env=ascii_only)
    assert json.loads(done.stdout)["notes"] == document["notes"]
    assert "12 x 8 us, ?" in shell("", *words, "table", "--full", env=ascii_only).stdout


def test_bytes_that_are_no_text_are_a_folder_like_any_other(tmp_path):
    out = os.fsdecode(os.fsencode(tmp_path) + b"/a\xff")
    done = ffprof("run", *TINY, "--rounds", 1, "--workloads", "bp", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "?" in only_record(Path(out)).command


def test_a_command_that_is_longer_than_a_record_takes_is_cut(tmp_path):
    words = [*TINY, *["--rounds", "1"] * 500, "--workloads", "bp", "--out", tmp_path]
    done = ffprof("run", *words)
    assert done.returncode == 0, done.stderr
    assert len(only_record(tmp_path).command) == 4000
