"""Commands end with the codes of docs/exit_codes.md, each for the reason that stands there."""

import functools
import re
import shutil
from pathlib import Path

import pytest
from command import TINY, ffprof, without_gpu
from gated import cpu, with_outcome
from records import MIB

from ffprof.cli import main
from ffprof.cli.interrupts import Terminated
from ffprof.cli.output.script import EXIT_CODES, NOT_COVERED, NOT_DECIDED
from ffprof.records.store import load, save

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "results" / "audit-small-cpu.json"
SCRIPT = "estimate -- COMMAND"
EVERYWHERE = {70, 130, 143}


def tables():
    text = (ROOT / "docs" / "exit_codes.md").read_text()
    meanings = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    commands = {
        name: {int(code) for code in codes.split(",")}
        for name, codes in re.findall(r"^\| `(.+)` \| ([\d, ]+) \|$", text, re.MULTILINE)
    }
    return meanings, commands


MEANINGS, COMMANDS = tables()
MEASURED = ["--preset", "smoke", "--threads", "1"]
LEARNED = [*MEASURED, "--device", "cpu", "--workloads", "bp", "--seeds", "1"]
# By command and code: words of which FOLDER is a folder of files.
CASES = {
    ("run", 0): ["run", *TINY, "--rounds", "1", "--workloads", "bp", "--out", "FOLDER/new"],
    ("run", 2): ["run", "--preset", "none"],
    ("run", 3): ["run", "--device", "cuda"],
    ("learn", 0): ["learn", *LEARNED, "--epochs", "1", "--samples", "64", "--out", "FOLDER/new"],
    ("learn", 2): ["learn", "--preset", "none"],
    ("learn", 3): ["learn", "--device", "cuda"],
    ("paper", 0): ["paper", "--records", "FOLDER"],
    ("paper", 2): ["paper", "--records", "FOLDER/none"],
    ("paper", 3): ["paper", "--run", "--device", "cuda", "--out", "FOLDER/new"],
    ("estimate", 0): ["estimate", "--preset", "smoke", "--workloads", "bp"],
    ("estimate", 2): ["estimate", "--preset", "none"],
    ("estimate", 3): ["estimate", "--preset", "smoke", "--workloads", "lstm", "--workload-file",
                      "FOLDER/lstm.py"],
    (SCRIPT, 0): None,  # these are in test_estimate_script.py, but for:
    (SCRIPT, 2): ["estimate", "--", "FOLDER/none"],
    ("frontier", 0): ["frontier", *MEASURED, "--device", "estimate", "--workloads", "bp",
                      "--out", "FOLDER/new"],
    ("frontier", 2): ["frontier", "--preset", "none"],
    ("frontier", 3): ["frontier", "--device", "cuda"],
    ("report", 0): ["report", SMALL],
    ("report", 2): ["report", "FOLDER/none"],
    ("verify", 0): ["verify", SMALL],
    ("verify", 2): ["verify", "FOLDER/edited.json"],
    ("compare", 0): ["compare", SMALL, SMALL],
    ("compare", 2): ["compare", "FOLDER/none", SMALL],
    ("check", 0): ["check", "--baseline", "FOLDER/base.json", "--current", "FOLDER/same.json"],
    ("check", 1): ["check", "--baseline", "FOLDER/base.json", "--current", "FOLDER/more.json"],
    ("check", 2): ["check", "--baseline", "FOLDER/none"],
    ("check", 3): ["check", "--baseline", "FOLDER/base.json", "--current", "FOLDER/nothing.json"],
    ("check", 4): ["check", "--baseline", "FOLDER/base.json", "--current", "FOLDER/noisy.json"],
    ("calibrate", 0): ["calibrate", "--from", "FOLDER/long.json", "--out", "FOLDER/new"],
    ("calibrate", 2): ["calibrate", "--rounds", "3"],
    ("calibrate", 3): ["calibrate", "--device", "cuda"],
    ("workloads", 0): ["workloads"],
    ("workloads", 2): ["workloads", "--none"],
    ("cards", 0): ["cards"],
    ("cards", 2): ["cards", "none"],
    ("data", 0): ["data"],
    ("data", 2): ["data", "none"],
    ("doctor", 0): ["doctor", "--device", "cpu", "--out", "FOLDER"],
    ("doctor", 2): ["doctor", "--device", "tpu"],
    ("doctor", 3): ["doctor", "--device", "cuda", "--out", "FOLDER"],
}  # fmt: skip
LSTM = """
import torch
def build(device):
    net = torch.nn.LSTM(4, 4).to(device)
    return lambda: net(torch.zeros(2, 2, 4, device=device))[0].sum().backward()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("codes")
    for name, made in {
        "base": cpu(9, noise=0.005, seed=1),
        "same": cpu(9, noise=0.005, seed=2),
        "more": cpu(9, noise=0.005, seed=2, memory={"two": 120 * MIB}),
        "noisy": cpu(9, noise=0.2, seed=2),
        "long": cpu(10, noise=0.005, seed=1),
    }.items():
        save(made, place / f"{name}.json")
    nothing = load(place / "base.json")
    for name in nothing.plan.workloads:
        nothing = with_outcome(nothing, name, "timeout")
    save(nothing, place / "nothing.json")
    base = (place / "base.json").read_text()
    (place / "edited.json").write_text(base.replace('"outcome": "ok"', '"outcome": "oom"', 1))
    (place / "lstm.py").write_text(LSTM)
    return place


def test_the_tables_are_of_all_commands_and_all_codes():
    names = {one.callback.__name__ for one in main.make_app(debug=False).registered_commands}
    assert set(COMMANDS) == {*names, SCRIPT}
    assert set().union(*COMMANDS.values()) == MEANINGS
    assert all(codes >= EVERYWHERE for codes in COMMANDS.values())
    assert COMMANDS[SCRIPT] == {2, 3, NOT_DECIDED, *EXIT_CODES.values(), NOT_COVERED} | EVERYWHERE


def test_every_code_of_a_command_has_a_case():
    wanted = {(name, code) for name, codes in COMMANDS.items() for code in codes - EVERYWHERE}
    of_scripts = {(SCRIPT, code) for code in COMMANDS[SCRIPT]}
    assert set(CASES) >= wanted - of_scripts
    assert set(CASES) <= wanted


@pytest.mark.parametrize(
    ("name", "code"), [case for case, words in CASES.items() if words], ids=str
)
def test_a_command_ends_with_the_code_for_its_reason(name, code, folder):
    if (name, code) == ("doctor", 0) and shutil.disk_usage(folder).free < 2**30:
        pytest.skip("the disk is full, which doctor calls bad")
    words = [str(word).replace("FOLDER", str(folder)) for word in CASES[name, code]]
    done = ffprof(*words, env=without_gpu(), cwd=folder)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if code == 2:
        assert len(done.stderr.strip().splitlines()) == 1


def words_for(name):
    needed = {
        "report": [str(SMALL)],
        "verify": [str(SMALL)],
        "compare": [str(SMALL)],
        "check": ["--baseline", str(SMALL)],
    }
    return [name, *needed.get(name, [])]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {SCRIPT}))
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("no"), 70, "not foreseen: RuntimeError: no"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "interrupted"),
    ],
    ids=["70", "130", "143"],
)
def test_all_end_alike_when_they_are_stopped_or_broken(
    name, error, code, said, capsys, monkeypatch, tmp_path
):
    """Once inside the command, and once before it has begun."""
    real = getattr(main, name)

    @functools.wraps(real)
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(main.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(main, name, broken)
    with pytest.raises(SystemExit) as ended:
        main.main(words_for(name))
    assert ended.value.code == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert said in err


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("no"), 70), (KeyboardInterrupt(), 130)])
def test_so_it_is_while_words_are_read(error, code, capsys, monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(main.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(main.Command, "parse_args", broken)
    with pytest.raises(SystemExit) as ended:
        main.main(["workloads"])
    assert ended.value.code == code
    assert "Traceback" not in capsys.readouterr().err
