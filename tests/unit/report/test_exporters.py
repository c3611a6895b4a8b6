"""Nothing that a file holds is obeyed by a terminal or by the runner of a CI job."""

import io
import json
import re

import pytest
from rich.console import Console
from rich.table import Table

from ffprof.cli.output.console import Notices
from ffprof.errors import harmless
from ffprof.hardware.doctor.finding import plain
from ffprof.report.document import Block, Column, Document
from ffprof.report.exporters import html, markdown, terminal, text
from ffprof.report.exporters.json import safe_json

HOSTILE = [
    "::error file=x::owned",
    "  ::set-output name=a::b",
    "a ##[error]b",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "left\u202eright\u2066\u200b",
    "a\r::error::b",
    "a\n::error::b\u2028::error::c\x85::error::d",
]


def document(words):
    columns = (Column(name=words, numeric=False), Column(name="n"))
    block = Block(
        heading=words, text=(words,), columns=columns, rows=((words, words),), lines=(words,),
        caption=words,
    )  # fmt: skip
    return Document(title=words, setting=(words,), blocks=(block,))


def shown(words):
    made = document(words)
    console = terminal.OutputConsole()
    console.file = io.StringIO()
    terminal.print_document(made, console)
    return {
        "table": console.file.getvalue(),
        "markdown": markdown.render(made),
        "html": html.render(made),
        "text": text.render(made),
    }


def assert_harmless(output):
    assert all(c.isprintable() or c == "\n" for c in output), output
    assert "##[" not in output
    assert not [line for line in output.split("\n") if line.strip().startswith("::")]


@pytest.mark.parametrize("words", HOSTILE)
def test_no_format_passes_on_what_is_obeyed(words):
    for name, output in shown(words).items():
        tags = re.sub(r"<[^>]*>", "\n", output) if name == "html" else output
        assert_harmless(output)
        assert_harmless(tags)


@pytest.mark.parametrize("command", ["::error::x", "::add-mask file=y::x", "##vso[task.x]y"])
def test_a_command_inside_a_long_word_is_none_where_the_word_is_cut(command):
    assert command not in harmless("n" * 80 + command)
    made = Document(title="n" * 80 + command, setting=("n" * 81 + command,), blocks=())
    for width in (80, 60):
        console = Console(file=io.StringIO(), width=width, highlight=False)
        terminal.print_document(made, console)
        assert_harmless(console.file.getvalue())
    assert harmless("at::native::add_kernel<float>") == "at::native::add_kernel<float>"


@pytest.mark.parametrize("words", HOSTILE)
def test_neither_do_notices_and_complaints(words, capsys):
    Notices().print(f"{words} [red]:smile:")
    err = capsys.readouterr().err
    assert_harmless(err)
    assert "[red]:smile:" in err.replace("\n", "")
    assert_harmless(harmless(words))
    assert_harmless(plain(words))


@pytest.mark.parametrize("words", HOSTILE)
def test_json_says_the_same_in_escapes(words):
    document = {words: [words, "例"]}
    for plain_only in (False, True):
        found = safe_json(json.dumps(document, indent=1, ensure_ascii=False), plain=plain_only)
        assert json.loads(found) == document
        assert_harmless(found)
        assert found.isascii() == plain_only or not plain_only


def test_cells_are_text_and_no_markup():
    console = terminal.OutputConsole()
    console.file = io.StringIO()
    table = Table(box=None)
    table.add_column("name")
    table.add_row("[red]a[/wrong] :smile: \x1b[2J")
    console.print(table)
    console.print("[/wrong] ::error::b")
    output = console.file.getvalue()
    assert_harmless(output)
    assert "[red]a[/wrong] :smile:" in output


def test_notices_that_nobody_can_read_are_no_error(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sys.stderr", Full())
    Notices().print("written to file")
