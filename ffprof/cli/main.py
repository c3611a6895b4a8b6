"""The ``ffprof`` command: the list of commands, and the one place where errors are printed."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from ffprof.cli.calibrate import calibrate
from ffprof.cli.catalogue import cards, data, workloads
from ffprof.cli.check import check
from ffprof.cli.compare import compare
from ffprof.cli.doctor import doctor
from ffprof.cli.estimate import estimate
from ffprof.cli.frontier import frontier
from ffprof.cli.help import Command, Commands, complain, name_values
from ffprof.cli.interrupts import interrupt_code
from ffprof.cli.learn import learn
from ffprof.cli.paper import paper
from ffprof.cli.report import report
from ffprof.cli.run import run
from ffprof.cli.verify import verify
from ffprof.errors import FfprofError, one_line
from ffprof.version import __version__

# How writing what is printed fails.
_OF_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own = words.index("--") if "--" in words else len(words)  # what follows is another's command
    debug = "--debug" in words[:own]
    kept = [word for word in words[:own] if word != "--debug"] + words[own:]
    make_app(debug)(kept, prog_name="ffprof")


def make_app(debug: bool) -> typer.Typer:
    """The commands, each guarded; with ``debug``, errors keep their tracebacks."""
    app = typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Compare the GPU memory and speed of training methods under matched conditions, on "
        "the card you have or on one that you name.",
    )
    commands = (run, learn, paper, estimate, frontier, report, verify, compare, check)
    for command in (*commands, calibrate, workloads, cards, data, doctor):
        name_values(command)
        app.command(cls=Command)(_guarded(command, debug))
    app.callback(invoke_without_command=True)(_options)
    return app


def _options(
    version: bool = typer.Option(False, "--version", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors; works anywhere."),
) -> None:
    if version:
        print(f"ffprof {__version__}")
        raise typer.Exit


def _guarded(command: Callable[..., None], debug: bool) -> Callable[..., None]:
    @functools.wraps(command)
    def guarded(*args: object, **kwargs: object) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except FfprofError as error:
            complain(f"error: {error}")
            _end(error.exit_code, debug, error)
        except KeyboardInterrupt as error:
            complain("interrupted")
            _end(interrupt_code(error), debug, error)
        except BrokenPipeError:
            _drop_output()  # the reader of our output has gone; nothing is wrong
            raise typer.Exit(0) from None
        except OSError as error:
            if error.filename is not None:
                raise
            if error.errno in _OF_OUTPUT:
                _drop_output()
            complain(f"error: {_told(error)}")
            _end(2, debug, error)

    return guarded


def _told(error: OSError) -> str:
    """What is wrong and what to do, of an error that names no file."""
    why = one_line(error.strerror or str(error))
    if error.errno in _OF_OUTPUT:
        return f"the output cannot be written: {why}"
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder is gone; change to one that is there"
    return f"{why}; --debug shows where it happened"


def _end(code: int, debug: bool, error: BaseException) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
    raise typer.Exit(code) from None


def _drop_output() -> None:
    """What is still buffered goes nowhere, so that the interpreter's own flush cannot fail."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
