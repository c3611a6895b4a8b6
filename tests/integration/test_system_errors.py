"""Errors of the system that name no file: only those of writing the output are called that."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ffprof.cli import main

SMALL = Path(__file__).resolve().parents[2] / "results" / "audit-small-cpu.json"


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--baseline", SMALL],
        ["run", "--preset", "smoke", "--device", "cpu", "--workloads", "bp"],
    ],
    ids=lambda words: words[0],
)
def test_a_folder_that_is_gone_is_named(words, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = 'rmdir "$PWD"; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "ffprof", *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False, cwd=gone,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "ffprof: error: the current folder is gone; change to one that is there\n"
    )


def test_a_full_disk_is_the_output():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    with full.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "ffprof", "report", str(SMALL)],
            stdout=out, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "ffprof: error: the output cannot be written: No space left on device\n"


def test_any_other_is_told_in_its_own_words(capsys):
    def command():
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.raises(main.typer.Exit) as ended:
        main._guarded(command, debug=False)()
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == (
        "ffprof: error: Resource temporarily unavailable; --debug shows where it happened\n"
    )
