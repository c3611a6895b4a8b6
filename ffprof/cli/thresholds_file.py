"""A file of thresholds, ``--thresholds FILE``: TOML, read with suspicion."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from ffprof.compare.gates.thresholds import LARGEST, Budget, Thresholds, WorkloadThresholds
from ffprof.errors import UsageError, one_line
from ffprof.records.store import first_problem
from ffprof.units import parse_size

MAX_BYTES = 64 * 1024
# The time that Python's parser takes for a dotted key grows with the square of its parts.
MAX_DOTS = 500
_FIX = "docs/checking.md shows such a file in full"
_SHARES = ("share", "exclude")
_NO_SHARE = ("less_than_equal", "less_than", "float_type")


def read_thresholds(path: Path) -> Thresholds:
    """The thresholds in a file.

    Raises:
        UsageError: it cannot be read, is no TOML, or says something that cannot be meant.
    """
    name = str(path)[:200]
    fix = "name a TOML file with --thresholds"
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{name} is not a file", fix)
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}", fix) from error
    return parse_thresholds(raw, name)


def parse_thresholds(raw: bytes, name: str) -> Thresholds:
    """The thresholds that the content of a file holds; ``name`` is what errors call the file.

    Raises:
        UsageError: they are no thresholds.
    """
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{name} is larger than thresholds can be", _FIX)
    if any(line.count(b".") > MAX_DOTS for line in raw.splitlines()):
        raise UsageError(f"{name} has a line with more than {MAX_DOTS} dots", _FIX)
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8, as TOML must be", _FIX) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {str(error)[:200]}", _FIX) from error
    try:
        return Thresholds.model_validate(document)
    except ValidationError as error:
        raise UsageError(f"{name}: {_first(error)}", _FIX) from error


def with_budget(thresholds: Thresholds, budget: str | None) -> Thresholds:
    """With the budget of the command line instead of that of all workloads.

    Raises:
        UsageError: it is no size.
    """
    if budget is None:
        return thresholds
    parse_size(budget)
    try:
        found = Budget.model_validate({"memory": budget})
    except ValidationError as error:
        problem = f"--budget: {first_problem(error)}"
        raise UsageError(problem, "give the size of a GPU's memory, such as 7.5GiB") from error
    return thresholds.model_copy(update={"budget": found})


def require_known(thresholds: Thresholds, known: Iterable[str], name: str) -> None:
    """Refuse names that would silently hold for nothing.

    Raises:
        UsageError: a workload is named that is in no record.
    """
    names = tuple(dict.fromkeys(known))
    for one in thresholds.named():
        if one not in names:
            raise UsageError(
                f"{name} names a workload {one!r} that is in neither result",
                f"name one of {one_line(', '.join(names))[:500]}",
            )


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with the field's full name."""
    first = error.errors(include_url=False)[0]
    field = ".".join(one_line(str(part))[:100] for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if first["type"] == "extra_forbidden":
        said = f"is no field of thresholds: {_instead(first['loc'])}"
    elif isinstance(first["input"], int) and abs(first["input"]) >= LARGEST:
        said = f"{said}, not a number of so many digits"  # 4300 of them are not even printed
    elif isinstance(first["input"], str | int | float):
        said = f"{said}, not {str(first['input'])[:60]!r}" if "not " not in said else said
    if first["loc"][-1] in _SHARES and first["type"] in _NO_SHARE:
        said += " (a share of the baseline: 0.05 is 5 %)"
    return f"{field}: {said}"


def _instead(path: Sequence[int | str]) -> str:
    """The field that may be meant by the last of a path, or all that are there."""
    from difflib import get_close_matches  # of errors only

    here: Thresholds | WorkloadThresholds = Thresholds()
    above = path[:-1]
    if above[:1] == ("workloads",):
        here, above = WorkloadThresholds(), above[2:]
    known = type(getattr(here, str(above[0])) if above else here).model_fields
    near = get_close_matches(str(path[-1])[:100], known, n=1)
    return f"{near[0]} may be meant" if near else f"there are {', '.join(known)}"
