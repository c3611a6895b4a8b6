"""Which options were written on the command line, as opposed to their defaults."""

from __future__ import annotations

from typing import Any

import typer


def written_options(context: typer.Context) -> dict[str, Any]:
    """By the name of their parameter, with the words of those that are chosen from a list."""
    return {
        name: getattr(value, "value", value)
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
