"""What is asked over values of a command: the largest that fits, or how memory grows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ffprof.errors import UsageError
from ffprof.estimator.sizes import CAP, swept_values
from ffprof.experiments.question import at_most_one, check_files
from ffprof.experiments.script.placeholder import Template, template_of

_MOST_LETTERS = 100  # of a name
_HOW = "write it as --batch-size=8,16,32, with {} in the command"


@dataclass(frozen=True, kw_only=True)
class ScriptQuestion:
    """The options about values; ``unit`` is what all values are multiples of, if that is told."""

    largest: str | None = None
    sweep: str | None = None
    plot: Path | None = None
    snapshot: Path | None = None
    unit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Values:
    """A value that the user calls ``name``, where it stands, and those that are swept, if any."""

    name: str
    template: Template
    swept: tuple[int, ...] = ()


def check_values(asked: ScriptQuestion, command: tuple[str, ...]) -> Values | None:
    """Refuse what cannot be meant together; what is asked over values, if anything is.

    Raises:
        UsageError: two options contradict each other, or the command has no place for a value.
        StoreError: there is no folder for a file.
    """
    given = {
        "--largest": asked.largest is not None,
        "--sweep": asked.sweep is not None,
        "--snapshot": asked.snapshot is not None,
    }
    at_most_one(given)
    if asked.unit is not None and asked.largest is None:
        raise UsageError("--multiple-of is about --largest", "add one, such as --largest batch")
    if asked.unit is not None and not 1 <= asked.unit <= CAP:
        raise UsageError(f"--multiple-of {asked.unit} is no size", f"give 1 to {CAP:,}")
    check_files(asked.sweep, asked.plot, asked.snapshot)
    if asked.largest is not None:
        name = _name("--largest", asked.largest)
        return Values(name=name, template=template_of("--largest", name, command))
    if asked.sweep is None:
        return None
    before, sign, listed = asked.sweep.rpartition("=")
    if not sign:
        raise UsageError(f"--sweep {asked.sweep!r} has no values", _HOW)
    name, swept = _name("--sweep", before), swept_values(asked.sweep, listed, _HOW)
    return Values(name=name, template=template_of("--sweep", name, command), swept=swept)


def _name(option: str, text: str) -> str:
    name = text.strip()
    if not name or len(name) > _MOST_LETTERS or not name.isprintable():
        raise UsageError(
            f"{option} {text[:_MOST_LETTERS]!r} is no name", "say what grows, such as --batch-size"
        )
    return name
