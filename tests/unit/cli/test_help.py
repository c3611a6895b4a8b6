"""Help and complaints are in the words of a user: no types of Python, nothing of the parser's."""

import re

import pytest

from ffprof.cli.main import main

COMMANDS = (
    "run", "learn", "paper", "estimate", "frontier", "report", "verify", "compare", "check",
    "calibrate", "workloads", "cards", "data", "doctor",
)  # fmt: skip


def said(capsys, *words):
    """Exit code, and what was printed where."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_these_are_all_commands(capsys):
    _, out, _ = said(capsys, "--help")
    assert re.findall(r"^  ([a-z]+)  ", out.partition("Commands:")[2], re.M) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_values_have_names_and_not_types(capsys, command):
    code, out, _ = said(capsys, command, "--help")
    assert code == 0
    for word in re.findall(r"<([^>=\s][^>]*)>", out):
        assert re.fullmatch(r"[a-z-]+(\|[a-z-]+)+", word), word  # a choice
    assert not re.search(r"\b(TEXT|INTEGER|FLOAT|list\[|int range|float range)", out)


def test_names_say_what_a_value_is(capsys):
    _, out, _ = said(capsys, "check", "--help")
    for words in (
        "--baseline PATH", "--thresholds FILE", "--workload-file FILE", "--rounds N",
        "--budget SIZE", "--time-limit SECONDS", "--out FOLDER", "--throughput <gate|advice|off>",
    ):  # fmt: skip
        assert f"{words} " in out, words
    assert "[1<=x<=1000]" in out
    _, out, _ = said(capsys, "report", "--help")
    assert re.search(r"^  PATH  A result file", out, re.M)


@pytest.mark.parametrize(("option", "first"), [("--format", "'table'"), ("--throughput", "'gate'")])
def test_a_wrong_choice_names_the_right_ones(capsys, option, first):
    code, _, err = said(capsys, "check", "--baseline", "x", option, "xml")
    assert code == 2
    assert option in err
    assert f"'xml' is not one of {first}, " in err
    assert "Value error" not in err


def test_the_gate_says_what_it_does_and_every_exit_code(capsys):
    _, out, _ = said(capsys, "--help")
    assert re.search(r"^  check +Fail if memory or speed got worse than a baseline\.$", out, re.M)
    _, out, _ = said(capsys, "check", "--help")
    about = " ".join(out.partition("Options:")[0].split())
    for code in range(5):
        assert re.search(rf"\b{code} if ", about), code
