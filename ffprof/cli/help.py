"""What a value is called in ``--help``, and a complaint about one, without words of Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand
from typer.models import ParameterInfo

# By the type of a parameter; what is chosen from a list shows the list.
_OF_TYPE = {"int": "N", "float": "NUMBER", "str": "NAME", "Path": "FILE", "list[Path]": "FILE"}
_OF_NAME = {
    # a file, or the newest in a folder
    "baseline": "PATH",
    "current": "PATH",
    "file": "PATH",
    "first": "PATH",
    "resume": "PATH",
    "second": "PATH|NAME",
    # others
    "out": "FOLDER",
    "gpu_mem": "SIZE",
    "budget": "SIZE",
    "time_limit": "SECONDS",
    "run_limit": "SECONDS",
    "workloads": "NAMES",
    "reference": "NAMES",
    "precisions": "NAMES",
    "memory_formats": "NAMES",
    "micro_batches": "N,N,...",
    "sweep": "NAME=N,N,...",
    "allocator": "SETTING",
    "data": "SOURCE",
}
_BY_PYDANTIC = "Value error, "


class Command(TyperCommand):
    """A command whose help and errors are in the words of its user."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                # It is printed after the metavar, which says as much.
                vars(parameter)["display_type_rich"] = _nothing

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command; a complaint is free of the parser's own."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(_BY_PYDANTIC)
            raise


def name_values(command: Callable[..., None]) -> None:
    """Give every option of a command a word for its value, by its name or else its type."""
    for name, parameter in inspect.signature(command).parameters.items():
        given = parameter.default
        if isinstance(given, ParameterInfo) and given.metavar is None:
            # Annotations are text, which typer evaluates.
            kind = _OF_TYPE.get(str(parameter.annotation))
            given.metavar = kind and _OF_NAME.get(name, kind)


def _nothing(ctx: object) -> None:
    """No type."""
