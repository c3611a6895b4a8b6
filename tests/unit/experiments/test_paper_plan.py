"""What a paper's commands mean on this machine, and when a run ends."""

import sys

import pytest
import records
from papers import install_paper

from ffprof.errors import DataError, RecordError, UsageError
from ffprof.experiments.paper import runner
from ffprof.experiments.paper.plan import PaperRun, data_words, find_sources, options_of
from ffprof.harness.data import catalogue
from ffprof.records.statement import Command
from ffprof.records.store import save
from ffprof.workload import find_paper

CIFAR = Command(verb="learn", options={"data": "cifar10", "epochs": 3, "seeds": "5"})


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "own_place", lambda info: tmp_path / "none" / info.name)


@pytest.mark.parametrize("inside", ["", "cifar10"])
def test_data_are_found_in_the_root_and_in_a_folder_of_their_name(tmp_path, nowhere, inside):
    folder = tmp_path / inside
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    assert data_words(CIFAR, tmp_path) == f"cifar10:{folder}"


def test_data_that_are_nowhere_are_an_error_with_a_way_out(tmp_path, nowhere):
    with pytest.raises(DataError, match=r"cifar10 is not on this machine.*ffprof data cifar10"):
        data_words(CIFAR, tmp_path)
    for name in ("digits", "teacher", None):
        options = {} if name is None else {"data": name}
        assert data_words(Command(verb="learn", options=options), tmp_path) == name


def test_options_are_those_of_the_command_line(tmp_path):
    command = Command(verb="learn", options={"data": "digits", "epochs": 3, "workloads": "bp"})
    asked = PaperRun(out=tmp_path, limit_seconds=60.0)
    options, learning = options_of(command, asked)
    assert (options.workloads, options.run_limit, options.out) == ("bp", 60.0, tmp_path)
    assert (learning.epochs, options.time_limit) == (3, 86_400.0)
    assert not options.estimates
    audit, _ = options_of(Command(verb="run", options={"device": "estimate"}), asked)
    assert (audit.device, audit.time_limit) == ("estimate", 600.0)
    with pytest.raises(UsageError, match="no option 'nonsense'"):
        options_of(Command(verb="run", options={"nonsense": 1}), asked)


def test_sources_of_two_folders_are_there_once(tmp_path):
    made = records.record([records.trial("bp", 0)])
    (tmp_path / "deep").mkdir()
    save(made, tmp_path / "audit-a.json")
    save(made, tmp_path / "deep" / "audit-b.json")
    (tmp_path / "audit-c.json").write_text("[")
    (tmp_path / "package.json").write_text('{"name": "x"}')
    found, notes = find_sources([tmp_path, tmp_path])
    assert [one.name for one in found] == ["audit-a.json", "audit-b.json"]
    (note,) = notes
    assert "audit-c.json is not JSON" in note
    with pytest.raises(RecordError, match="there is no folder"):
        find_sources([tmp_path / "none"])


def test_a_run_ends_with_its_limit_and_says_what_is_left(monkeypatch, tmp_path):
    seen, clock = [], iter([0.0, 0.0, 3500.0, 3599.5, 3599.5])
    monkeypatch.setattr(runner, "_run", lambda command, asked, *_: seen.append(asked.limit_seconds))
    commands = [Command(verb="run", options={"rounds": n}) for n in (1, 2, 3)]
    ran = runner.run_commands(
        commands,
        PaperRun(out=tmp_path, limit_seconds=3600.0),
        lambda: None,
        lambda text: None,
        now=lambda: next(clock),
    )
    assert seen == [3600.0, 100.0]
    assert (ran.done, ran.left) == (2, 1)
    assert ran.stopped == "the limit of 1 h 00 min is over"


def test_what_cannot_run_is_passed_over_and_ctrl_c_ends_all(monkeypatch, tmp_path):
    def run(command, *_):
        if command.options["rounds"] == 1:
            raise UsageError("wrong", "right it")
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_run", run)
    commands = [Command(verb="run", options={"rounds": n}) for n in (1, 2, 3)]
    said = []
    ran = runner.run_commands(commands, PaperRun(out=tmp_path), lambda: None, said.append)
    assert (ran.done, ran.left, ran.stopped) == (0, 2, "interrupted")
    assert ran.passed_over == ("ffprof run --rounds 1: wrong; right it",)
    assert "passed over: wrong; right it" in said


def test_without_a_paper_or_with_several_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("ffprof.workload.description.entry_points", lambda group: ())
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "other")])  # looked at anew
    with pytest.raises(UsageError, match="no paper is registered"):
        find_paper()
    monkeypatch.undo()
    install_paper(tmp_path / "one")
    install_paper(tmp_path / "two", "papers:TINY", "tiny")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two"), *sys.path])
    assert find_paper("tiny").title == "A tiny paper"
    with pytest.raises(UsageError, match=r"there are .*; name one of them"):
        find_paper()
