"""Progress: one line that is redrawn on a terminal, and only what must be known elsewhere."""

import io

from rich.console import Console

from ffprof.cli.output.progress import progress_for


def shown(terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, color_system=None)
    progress = progress_for(console)
    progress.starts("bp: estimating", 0, 2)
    progress.starts("bp: running 66, 65 fits, 67 does not", 0, 2)
    progress.says("bp is repeated: too hot")
    progress.ends("round 1  bp                      ok       157 img/s", 61.0)
    progress.starts("round 2 bp", 1, 2)
    progress.done()
    return out.getvalue()


def test_a_terminal_shows_what_runs_and_what_is_over():
    text = shown(True)
    for words in (
        "0/2 bp: estimating", "66, 65 fits, 67 does not", "  bp is repeated: too hot",
        "  round 1  bp", "157 img/s", "1/2 round 2 bp", "about 1 min", "left",
    ):  # fmt: skip
        assert words in text
    assert all(len(line) < 200 for line in text.splitlines())


def test_elsewhere_only_what_must_be_known_is_said():
    assert shown(False) == "bp is repeated: too hot\n"


def test_nothing_is_drawn_before_something_runs_so_that_an_error_is_one_line():
    out = io.StringIO()
    progress = progress_for(Console(file=out, force_terminal=True, width=60))
    progress.done()
    assert out.getvalue() == ""
    progress.starts("bp", 0, 1)
    progress.done()
    progress.done()
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1
