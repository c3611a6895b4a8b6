"""The ``ffprof`` command: the list of commands, and the one place where errors are printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from ffprof import __version__
from ffprof.cli.report import report
from ffprof.cli.run import run
from ffprof.cli.workloads import workloads
from ffprof.errors import FfprofError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Is this way of training really cheaper, on a card people own? Measures training "
    "methods under matched conditions and prints a fair table.",
)
app.command()(run)
app.command()(report)
app.command()(workloads)


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),
) -> None:
    if version:
        print(f"ffprof {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words[:1]
    try:
        app(words, prog_name="ffprof")
    except FfprofError as error:
        if debug:
            raise
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if debug:
            raise
        _say("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is wrong
        sys.exit(0)


def _say(text: str) -> None:
    print(f"ffprof: {text}", file=sys.stderr)
