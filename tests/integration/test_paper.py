"""``ffprof paper`` as a user runs it: the table of the recorded audits, and ``--run``."""

import json
import signal
import time
from pathlib import Path

import pytest
from command import ffprof, many_commands, started
from papers import DEEP, DIGITS, TEACHER, install_paper

from ffprof import load
from ffprof.records.learning import LearningRecord
from workloads.paper import PAPER

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
COMMANDS = {str(command) for command in (DIGITS, TEACHER, *DEEP)}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    with many_commands(install_paper(tmp_path_factory.mktemp("shipped"))) as env:
        yield {**env, "COLUMNS": "80"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    with many_commands(install_paper(folder, "papers:TINY", "tiny")) as env:
        yield {**env, "COLUMNS": "80"}


def test_the_table_fits_and_has_a_line_for_each_statement(shipped):
    done = ffprof("paper", "dtg-ff", env=shipped, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for number, one in enumerate(PAPER.statements, 1):
        (row,) = [text for text in lines if text.startswith(f"{number:>2} {one.words} ")]
        assert one.figure in row
    assert "Traceback" not in done.stdout


def test_what_is_not_run_has_its_command(shipped):
    done = ffprof("paper", "dtg-ff", "-f", "json", "--records", RESULTS, env=shipped)
    found = {line["id"]: line for line in json.loads(done.stdout)}
    assert list(found) == [one.id for one in PAPER.statements]
    assert found["memory"]["evidence"] == "estimated"
    assert found["memory"]["records"] == ["audit-imagenet100-8gb-estimated.json"]
    for line in found.values():
        assert line["commands"]
        assert (line["agreement"] == "not run") == (line["ours"] == "-")


def test_the_page_of_results_is_that_of_its_records(shipped):
    done = ffprof(
        "paper", "dtg-ff", "-f", "markdown", "--records", "results", env=shipped, cwd=ROOT
    )  # fmt: skip
    remake = "ffprof paper -f markdown --records results > results/PAPER.md"
    assert (RESULTS / "PAPER.md").read_text() == done.stdout, f"run {remake}"
    assert "made by: ffprof paper -f markdown --records results" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--records", "/nowhere"], "--records /nowhere is not a folder"),
        (["--run", "--data-root", "/nowhere"], "--data-root /nowhere is not a folder"),
        (["--run", "--limit", "0"], "--limit 0 is no time"),
        (["--run", "--limit", "nan"], "invalid value for '--limit': nan is no finite number"),
        (["--run", "--limit", "inf"], "invalid value for '--limit': inf is no finite number"),
        (["--limit", "1"], "--limit is for --run"),
        (["--out", "x"], "--out is for --run"),
        (["--card", "RTX 9999"], "RTX 9999"),
    ],
)
def test_what_cannot_be_is_one_line(shipped, words, said, tmp_path):
    done = ffprof("paper", "dtg-ff", *words, env=shipped, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("ffprof: error: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_paper_that_is_not_registered_is_one_line(shipped):
    done = ffprof("paper", "another", env=shipped)
    assert done.returncode == 2
    assert "unknown paper 'another'" in done.stderr
    assert "dtg-ff" in done.stderr


def test_damaged_files_are_named_and_passed_over(shipped, tmp_path):
    (tmp_path / "audit-x.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    done = ffprof("paper", "dtg-ff", "--records", tmp_path, env=shipped)
    assert done.returncode == 0
    assert "audit-x.json is not JSON" in " ".join(done.stdout.split())
    assert "other.json" not in done.stdout


def studies(folder):
    found = [load(path) for path in folder.glob("learning-*.json")]
    return {one.command: one for one in found if isinstance(one, LearningRecord)}


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory):
    """A run that is interrupted in its first study, and the one that goes on."""
    out = tmp_path_factory.mktemp("ran") / "audits"
    nothing = tmp_path_factory.mktemp("nothing")  # results/ holds answers
    words = ["paper", "tiny", "--run", "--device", "cpu", "--records", str(nothing)]
    words += ["--out", str(out), "--limit", "1"]
    process = started(*words, env=tiny)
    deadline = time.monotonic() + 200
    while not any(out.glob("learning-*.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    first = process.communicate(timeout=100), process.returncode
    begun = studies(out)
    return first, begun, ffprof(*words, env=tiny), out


def test_an_interrupted_run_keeps_what_is_done_and_says_how_to_go_on(ran):
    ((printed, told), code), begun, _, _ = ran
    assert code == 130
    assert "stopped early: interrupted; the same command goes on" in told
    assert "Paper: A tiny paper" in printed
    assert set(begun) == {str(DIGITS)}
    assert begun[str(DIGITS)].missing()
    assert "Traceback" not in told


def test_it_passes_over_what_has_no_data_and_says_so(ran):
    _, _, done, _ = ran
    assert "passed over: tiny-imagenet is not on this machine" in done.stderr
    assert "4 of 5 done, 1 passed over" in done.stderr


def test_it_goes_on_with_the_same_records_and_ends(ran):
    _, _, done, out = ran
    assert done.returncode == 0, done.stderr
    assert "goes on: " in done.stderr
    found = studies(out)
    assert set(found) == {str(DIGITS), str(TEACHER)}
    assert not any(one.missing() for one in found.values())
    assert {load(path).command for path in out.glob("*.json")} == COMMANDS
    assert len(list(out.glob("*.json"))) == len(COMMANDS)


def test_the_table_afterwards_has_the_answers(ran):
    _, _, done, _ = ran
    rows = {line[3:].split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert rows["what no data are here for"].split()[-2:] == ["not", "run"]
    assert rows["bp ahead on digits"].split()[-2:] == ["not", "comparable"]  # 96 images
    assert rows["and over the class count"].split()[-2:] == ["cannot", "tell"]
    assert rows["no depth-wide activations"].split()[-1] == "agrees"


def test_what_is_settled_is_not_run_again(ran, tiny):
    _, _, _, out = ran
    done = ffprof(
        "paper", "tiny", "--run", "--device", "cpu", "--records", out, "--out", out, env=tiny
    )
    assert done.returncode == 0
    assert "passed over: tiny-imagenet" in done.stderr
    assert "0 of 1 done, 1 passed over" in done.stderr


def test_a_forecast_says_hours_and_memory_for_a_card(tiny, tmp_path):
    done = ffprof("paper", "tiny", "--card", "rtx4060", "--records", tmp_path, env=tiny)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "forecast (estimated) for GeForce RTX 4060" in told
    (of_digits,) = [line for line in told.split(" - ") if line.startswith(str(DIGITS))]
    assert "(for 2; about 0 s, " in of_digits
    assert "MiB)" in of_digits
