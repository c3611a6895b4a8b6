"""The ``ffprof`` command: the list of commands, and the one place where errors are printed."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
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
from ffprof.cli.help import PARSER_ERROR, Command, Commands, complain, name_values
from ffprof.cli.interrupts import interrupt_code
from ffprof.cli.learn import learn
from ffprof.cli.paper import paper
from ffprof.cli.report import report
from ffprof.cli.run import run
from ffprof.cli.verify import verify
from ffprof.errors import FfprofError, one_line
from ffprof.harness.process.streams import (
    open_streams,
    output_is_broken,
    take_every_character,
)
from ffprof.version import __version__

UNFORESEEN = 70  # EX_SOFTWARE of sysexits.h; 1 means that something regressed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    open_streams()
    take_every_character()
    words = list(sys.argv[1:] if arguments is None else arguments)
    own = words.index("--") if "--" in words else len(words)  # what follows is another's command
    debug = "--debug" in words[:own]
    kept = [word for word in words[:own] if word != "--debug"] + words[own:]
    try:
        code = make_app(debug)(kept, prog_name="ffprof", standalone_mode=False)
    except typer.Abort:  # what the parser makes of an interrupt that comes while it reads
        complain("interrupted")
        code = 130
    except PARSER_ERROR as error:
        error.show()  # type: ignore[attr-defined]
        code = error.exit_code  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001  # a defect, wherever it is
        raise SystemExit(_unforeseen(error, debug)) from None
    raise SystemExit(code if isinstance(code, int) else 0)


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
        except BrokenPipeError as error:
            if output_is_broken(error):  # the reader of our output has gone; nothing is wrong
                raise typer.Exit(0) from None
            complain(f"error: {_told(error)}")
            _end(2, debug, error)
        except OSError as error:
            complain(f"error: {_told(error)}")
            _end(2, debug, error)
        except typer.Exit:
            raise
        except Exception as error:  # noqa: BLE001  # a defect; of some the parser makes a 1
            raise typer.Exit(_unforeseen(error, debug)) from None

    return guarded


def _told(error: OSError) -> str:
    """What is wrong and what to do, of an error of the system."""
    why = one_line(error.strerror or str(error))
    if output_is_broken(error):
        return f"the output cannot be written: {why}"
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder is gone; change to one that is there"
    if isinstance(error.filename, str | bytes | os.PathLike):
        return f"{one_line(os.fsdecode(error.filename))[:500]}: {why}"
    return f"{why}; --debug shows where it happened"


def _end(code: int, debug: bool, error: BaseException) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
    raise typer.Exit(code) from None


def _unforeseen(error: Exception, debug: bool) -> int:
    """Tell of a defect in one line, with where its traceback is; the exit code."""
    import traceback

    text = "".join(traceback.format_exception(error))
    place = "above"
    if not debug:
        with contextlib.suppress(OSError):
            number, place = tempfile.mkstemp(prefix="ffprof-error-", suffix=".txt")
            with open(number, "w", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                file.write(text)
            place = f"in {place}"
    if place == "above":
        with contextlib.suppress(OSError):
            print(text, end="", file=sys.stderr, flush=True)
    kind, told = type(error).__name__, one_line(str(error))[:300]
    complain(f"error: not foreseen: {kind}: {told}; please report it: its traceback is {place}")
    output_is_broken(error)
    return UNFORESEEN
