"""What is not foreseen has an exit code of its own, and never that of a regression."""

import errno
import re
from pathlib import Path

import pytest

from ffprof.cli import main
from ffprof.records import store

SMALL = str(Path(__file__).resolve().parents[3] / "results" / "audit-small-cpu.json")


def ended(words, capsys):
    with pytest.raises(SystemExit) as exit:
        main.main(words)
    return exit.value.code, capsys.readouterr().err


def raising(error):
    def read_any(path):
        raise error

    return read_any


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no\nway"), EOFError(), MemoryError(), ValueError("40"), KeyError("x")],
    ids=lambda error: type(error).__name__,
)
def test_a_defect_is_one_line_with_the_place_of_its_traceback(error, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(main.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(store, "read_any", raising(error))
    code, err = ended(["report", SMALL], capsys)
    assert code == 70
    (line,) = err.splitlines()
    assert line.startswith(f"ffprof: error: not foreseen: {type(error).__name__}: ")
    (place,) = re.findall(r"its traceback is in (\S+)$", line)
    assert "in read_any" in Path(place).read_text()


def test_a_traceback_that_cannot_be_written_is_shown(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(main.tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(store, "read_any", raising(RuntimeError("no")))
    code, err = ended(["report", SMALL], capsys)
    assert code == 70
    assert "in read_any" in err
    assert err.splitlines()[-1].endswith("its traceback is above")
    code, err = ended(["report", SMALL, "--debug"], capsys)
    assert (code, err.count("Traceback")) == (70, 1)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a\nb"), "/a b: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"/x\xff"), "/x?: No such file"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; --debug"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe; --debug shows"),
    ],
)
def test_an_error_of_the_system_is_one_line_and_not_blamed_on_the_output(
    error, told, capsys, monkeypatch
):
    monkeypatch.setattr(store, "read_any", raising(error))
    code, err = ended(["report", SMALL], capsys)
    assert code == 2
    assert err.startswith(f"ffprof: error: {told}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e300"])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "--time-limit"],
        ["run", "--run-limit"],
        ["frontier", "--run-limit"],
        ["calibrate", "--time-limit"],
        ["learn", "--time-limit"],
        ["check", "--baseline", SMALL, "--time-limit"],
        ["estimate", "--card", "RTX4060", "--time-limit"],
        ["paper", "--run", "--limit"],
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
def test_a_limit_that_is_no_time_is_one_line(words, value, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [*words, value, *(["--", "true"] if words[0] == "estimate" else [])]
    code, err = ended(command, capsys)
    assert code == 2, err
    (line,) = err.splitlines()
    assert words[-1] in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["learning-rate", "weight-decay", "warmup-epochs", "validation"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_no_number_of_a_study_is_none(name, value, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, err = ended(["learn", f"--{name}", value], capsys)
    assert code == 2
    (line,) = err.splitlines()
    assert f"--{name}" in line


def test_python_has_the_same_limits():
    import ffprof
    from ffprof.errors import UsageError

    for value in (float("inf"), float("nan"), -1.0, 1e300):
        with pytest.raises(UsageError, match=r"time_limit|no time to wait for"):
            ffprof.run(preset="smoke", device="cpu", time_limit=value)
