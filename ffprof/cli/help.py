"""What a value is called in ``--help``, and a complaint about one, without words of Python."""

from __future__ import annotations

import contextlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ParameterInfo

from ffprof.errors import did_you_mean, harmless, one_line

# By the type of a parameter; what is chosen from a list shows the list.
_OF_TYPE = {"int": "N", "float": "NUMBER", "str": "NAME", "Path": "FILE", "list[Path]": "FILE"}
_OF_TYPE["list[str]"] = "NAME"
_OF_TYPE["list"] = "FILE"  # of a type that is evaluated
_OF_NAME = {
    # a file, or the newest in a folder
    "baseline": "PATH",
    "current": "PATH",
    "file": "PATH",
    "first": "PATH",
    "resume": "PATH",
    "second": "PATH|NAME",
    "other": "PATH",
    # others
    "out": "FOLDER",
    "records": "FOLDER",
    "data_root": "FOLDER",
    "limit": "HOURS",
    "gpu_mem": "SIZE",
    "budget": "SIZE",
    "time_limit": "SECONDS",
    "run_limit": "SECONDS",
    "workloads": "NAMES",
    "precisions": "NAMES",
    "memory_formats": "NAMES",
    "micro_batches": "N,N,...",
    "sweep": "NAME=VALUE,...",
    "allocator": "SETTING",
    "data": "SOURCE",
    "seeds": "N|N,N,...",
}

# Options by what they are about, in the order of --help; the rest stands last, under "Options".
_PANELS = {
    "Arguments": ("file", "first", "second", "third", "name", "names", "command"),
    "Gates": ("baseline", "current", "thresholds", "throughput", "update_baseline"),
    "Questions": (
        "detail", "against", "largest", "multiple_of", "sweep", "check", "records", "forecast",
    ),
    "Recipe": (
        "preset", "workloads", "workload_files", "workload_file", "backbone", "width", "norm",
        "image_size", "seq", "lora", "batch", "micro_batch", "micro_batches", "precision",
        "precisions", "memory_format", "memory_formats", "data", "data_workers", "download", "seed",
        "allocator", "no_workspaces",
    ),
    "Task": (
        "classes", "drawn_by", "samples", "samples_per_class", "labels", "teacher_depth",
        "teacher_width", "label_noise", "teacher_seed", "test_samples", "unbalanced",
    ),
    "Training": (
        "epochs", "seeds", "optimizer", "learning_rate", "weight_decay", "tune", "schedule",
        "warmup_epochs", "augmentation", "shift", "validation", "target",
    ),
    "Budget": ("gpu_mem", "card", "card_files", "card_file", "display", "budget"),
    "Measuring": (
        "device", "rounds", "looks", "all_points", "threads", "steps", "on_foreign", "time_limit",
        "run_limit", "run", "data_root", "limit", "resume", "jobs", "max_batch", "max_depth",
        "dry_run", "from_file", "strict",
    ),
    "Output": (
        "out", "plot", "output", "other", "snapshot", "everything", "fix", "template", "format",
    ),
}  # fmt: skip
_KNOWN = {name for names in _PANELS.values() for name in names}


# Options that are gone, and what to use.
_REMOVED = {
    ("compare", "--reference"): "a speed is relative to the median of all rows",
    ("calibrate", "--show"): "ffprof report prints a calibration, and a run says which it uses",
    ("doctor", "--measure"): "benchmarks/bench_sampling.py measures what sampling costs",
}


class Command(TyperCommand):
    """A command whose help and errors are in the words of its user."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                # It is printed after the metavar, which says as much.
                vars(parameter)["display_type_rich"] = _nothing

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command; a complaint is one line."""
        with _complaints():
            left = super().parse_args(ctx, args)
            for one in self.params:
                value = ctx.params.get(one.name)
                if isinstance(value, float) and not math.isfinite(value):
                    raise typer.BadParameter(f"{value} is no finite number", ctx, cast(Any, one))
            return left

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options by what they are about."""
        records = {one.name: one.get_help_record(ctx) for one in self.get_params(ctx)}
        for panel, names in {**_PANELS, "Options": records.keys() - _KNOWN}.items():
            found = [record for name in names if (record := records.get(name))]
            if found:
                with formatter.section(panel):
                    formatter.write_dl(found)


class Commands(TyperGroup):
    """The commands; a complaint about their names is one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before a command; without any word, help is printed."""
        with _complaints() if args else contextlib.nullcontext():
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is meant."""
        with _complaints(self.list_commands(ctx)):
            return super().resolve_command(ctx, args)


@contextlib.contextmanager
def _complaints(commands: Sequence[str] = ()) -> Iterator[None]:
    """What the parser objects to becomes one line, with what may be meant.

    Raises:
        Exit: with code 2.
    """
    try:
        yield
    except PARSER_ERROR as error:
        complain(f"error: {_told(error, commands)}")
        raise typer.Exit(2) from None


def _told(error: Any, commands: Sequence[str]) -> str:
    told = error.format_message().removesuffix(".").replace("Value error, ", "")
    if hasattr(error, "possibilities"):
        known = [name for one in error.ctx.command.params for name in one.opts]
        near = did_you_mean(error.option_name, known)
        gone = _REMOVED.get((error.ctx.info_name, error.option_name))
        return f"no such option: {error.option_name}; {gone or f'{near}--help lists all'}"
    if commands and (quoted := re.search("'(.*?)'", told)):
        near = did_you_mean(quoted[1], commands)
        return f"no such command: {quoted[1]}; {near}there are {', '.join(commands)}"
    choice = re.search("'([^']*)' is not one of (.*)", told)
    near = did_you_mean(choice[1], re.findall("'(.*?)'", choice[2])) if choice else ""
    return one_line(f"{told[:1].lower()}{told[1:]}{near and f'; {near}'}".strip())


def complain(text: str) -> None:
    """One line on standard error, if there is one."""
    with contextlib.suppress(OSError):
        print(f"ffprof: {harmless(text)}", file=sys.stderr, flush=True)


# The parser is a package of its own or a part of typer; this is its error in either.
PARSER_ERROR = cast("type[Exception]", typer.BadParameter.__base__)


def name_values(command: Callable[..., None]) -> None:
    """Give every option of a command a word for its value, by its name or else its type."""
    for name, parameter in inspect.signature(command).parameters.items():
        given = parameter.default
        if isinstance(given, ParameterInfo) and given.metavar is None:
            # Annotations are text, which typer evaluates, but those of shared options.
            kind = parameter.annotation
            kind = _OF_TYPE.get(getattr(kind, "__name__", None) or str(kind))
            given.metavar = kind and _OF_NAME.get(name, kind)


def _nothing(ctx: object) -> None:
    """No type."""
