"""What ``ffprof estimate`` is asked: what contradicts itself is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffprof.errors import StoreError, UsageError
from ffprof.estimator.sizes import AXES, QUESTIONS, Axis, flat_width, swept_values

PLOT_FORMATS = (".png", ".svg", ".pdf")
_OF_AXIS = {"batch": "batch", "image-size": "image_size", "depth": ""}


@dataclass(frozen=True, kw_only=True)
class EstimateQuestion:
    """The options that say what is asked; those of the recipe are in ``changes``.

    ``own``: workloads of the user's own may take part, which may have sizes of their own.
    """

    changes: dict[str, Any]
    detail: bool
    against: str | None
    largest: str | None
    sweep: str | None
    plot: Path | None
    snapshot: Path | None
    own: bool = False
    advise: bool = False
    show: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One axis and its values, ascending."""

    axis: Axis
    values: tuple[int, ...]


def check_question(asked: EstimateQuestion) -> Sweep | None:
    """Refuse what cannot be meant together; the sweep, if one is requested.

    Raises:
        UsageError: two options contradict each other, or the sweep is none.
        StoreError: there is no folder for a file.
    """
    given = {
        "--against": asked.against is not None,
        "--largest": asked.largest is not None,
        "--sweep": asked.sweep is not None,
        "--snapshot": asked.snapshot is not None,
        "--advise": asked.advise,
    }
    chosen = at_most_one(given)
    if asked.detail and chosen and chosen[0] != "--snapshot":
        raise UsageError(f"--detail cannot be combined with {chosen[0]}", "leave one of them out")
    check_files(asked.sweep, asked.plot, asked.snapshot)
    if asked.largest == "batch" and asked.changes.get("batch") is not None:
        raise UsageError("--largest batch searches for what --batch sets", "leave --batch out")
    if asked.largest is not None and asked.largest not in QUESTIONS and not asked.own:
        raise UsageError(
            f"--largest {asked.largest} is no size", f"name one of {', '.join(QUESTIONS)}"
        )
    return None if asked.sweep is None else _sweep(asked.sweep, asked.changes, own=asked.own)


def at_most_one(given: Mapping[str, bool]) -> list[str]:
    """The options that were given, of those that cannot be combined.

    Raises:
        UsageError: they are several.
    """
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen[:2])} cannot be combined", "use one at a time")
    return chosen


def check_files(sweep: str | None, plot: Path | None, snapshot: Path | None) -> None:
    """Refuse a plot of nothing, and files that cannot be written.

    Raises:
        UsageError: there is no sweep to draw, or no such format.
        StoreError: there is no folder for a file.
    """
    if plot is not None and sweep is None:
        raise UsageError("--plot draws a --sweep", "add one, such as --sweep batch=8,16,32")
    if plot is not None:
        check_plot(plot)
    for option, path in (("--plot", plot), ("--snapshot", snapshot)):
        if path is not None:
            check_file(option, path)


def check_plot(path: Path, option: str = "--plot") -> None:
    """Refuse what no plot can be written as.

    Raises:
        UsageError: its name ends in no format that is known.
    """
    if path.suffix.lower() not in PLOT_FORMATS:
        raise UsageError(
            f"{option} {path}: unknown format", f"end it in {' or '.join(PLOT_FORMATS)}"
        )


def check_file(option: str, path: Path) -> None:
    """Refuse what is no file in a folder.

    Raises:
        StoreError: there is no folder for it.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise StoreError(f"{option} {path} cannot be written", "name a file in a folder")


def _sweep(text: str, changes: dict[str, Any], *, own: bool) -> Sweep:
    name, _, listed = text.partition("=")
    fix = "write it as batch=8,16,32, depth=4,8,16 or image-size=64,128,224"
    axis = name.strip()
    if axis.replace("_", "-") in AXES:
        axis = axis.replace("_", "-")
    if axis not in AXES and not (own and axis.isidentifier()):
        raise UsageError(f"--sweep {text!r} sweeps an unknown axis", fix)
    values = swept_values(text, listed, fix)
    option = _OF_AXIS.get(axis, "")
    if option and changes.get(option) is not None:
        raise UsageError(f"--{axis} and --sweep {axis} contradict each other", "leave one out")
    backbone = changes.get("backbone")
    if axis == "depth" and backbone is not None and not backbone.startswith("flat-"):
        raise UsageError(
            f"--backbone {backbone} has no depth to sweep",
            f"leave it out, or name flat-D-W for its width W ({flat_width('')} otherwise)",
        )
    return Sweep(axis=axis, values=values)
