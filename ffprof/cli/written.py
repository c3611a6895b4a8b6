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


def option_words(written: dict[str, Any]) -> tuple[str, ...]:
    """Options as they are typed; ``written`` has none that is on or off."""
    return tuple(
        word
        for name, value in written.items()
        for one in (value if isinstance(value, list) else [value])
        for word in (f"--{name.replace('_', '-')}", str(one))
    )


def first_look(written: dict[str, Any]) -> int:
    """The rounds that ``--looks`` begins with.

    Raises:
        UsageError: something else that was written says how many rounds there are.
    """
    from ffprof.analysis.statistics.looks import LOOKS
    from ffprof.errors import UsageError

    if "rounds" in written:
        raise UsageError("--looks and --rounds both say how many rounds", "leave one of them out")
    if "resume" in written:
        raise UsageError("--looks begins an audit", "raise --rounds to the next look to go on")
    for name in ("max_batch", "max_depth"):
        if name in written:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--looks is for audits, and {option} is none", "leave one out")
    if written.get("device") == "estimate":
        raise UsageError(
            "--looks takes rounds, and --device estimate measures none", "leave one of them out"
        )
    return LOOKS[0]
