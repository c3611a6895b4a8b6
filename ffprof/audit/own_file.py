"""A file of the user's own: described in one child process, and run in others.

The file imports torch, may print, hang or crash; so the parent reads its bytes and nothing more.
A child loads it and sends back descriptions, which hold no objects of the file, only where to
find them. Every trial loads the file again in a process of its own, and only if it still holds
the very bytes that the parent read.
"""

from __future__ import annotations

import contextlib
import importlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ffprof.audit.messages import Failed
from ffprof.audit.own_load import Source, load_file
from ffprof.errors import FfprofError, RefusedError, UsageError
from ffprof.records.recipe import Recipe
from ffprof.workload import BackboneSource, Builder, Description, find_workload

FAMILY = "own"
STEP_SCHEDULE = "the user's own step"
FIRST_RANK = 1000  # below the registered ones, in the order of the file


@dataclass(frozen=True, kw_only=True)
class FileDescription(Description):
    """A workload in a file; ``sibling`` is its reference if that is in the same file too."""

    source: Source
    sibling: FileDescription | None = None


@dataclass(frozen=True, kw_only=True)
class StepDescription(FileDescription):
    """A step in a file that does everything by itself; ``images`` None: not declared."""

    images: int | None = None

    def micro_batch(self, recipe: Recipe) -> int:
        """Images a step: as declared, or the recipe's batch."""
        return recipe.batch if self.images is None else self.images


@dataclass(frozen=True, kw_only=True)
class _Load:
    """Finds the builder in the file; called inside a trial only."""

    source: Source
    id: str

    def __call__(self) -> Builder:
        found = load_file(self.source)[self.id]
        if found.kind == "step":
            build: Any = found.target
            return build  # type: ignore[no-any-return]
        from ffprof.audit.adapter import adapted_builder

        return adapted_builder(found.target, shared=found.load_backbone is not None)


@dataclass(frozen=True, kw_only=True)
class _LoadBackbone:
    source: Source
    id: str

    def __call__(self) -> BackboneSource:
        found: Any = load_file(self.source)[self.id].load_backbone
        if isinstance(found, str):
            module, _, name = found.partition(":")
            found = getattr(importlib.import_module(module), name)
        return found  # type: ignore[no-any-return]


def address(description: Description) -> str | FileDescription:
    """What a child finds a workload by: its registered id, or its description with the file."""
    return description if isinstance(description, FileDescription) else description.id


def addressed(found: str | FileDescription) -> Description:
    """The workload of an address, in the child."""
    return find_workload(found) if isinstance(found, str) else found


def reference_address(description: Description) -> str | FileDescription:
    """The same for the workload whose full-batch gradient it should have."""
    if isinstance(description, FileDescription):
        if description.reference == description.id:
            return description
        if description.sibling is not None:
            return description.sibling
    return description.reference


def describe_child(sender: Connection, source: Source) -> None:
    """Load a file and send the descriptions in it, a tuple of ``FileDescription``."""
    with telling(sender, source):
        sender.send(describe(source))


@contextlib.contextmanager
def telling(sender: Connection, source: Source | str | Description) -> Iterator[None]:
    """Before an error ends this child, send what it was and where in the user's file.

    Workloads that are not from a file are left to the last line of their traceback.
    """
    found = source.source if isinstance(source, FileDescription) else source
    advice = _advice if isinstance(source, Source) else _no_advice
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(found, Source):
            outcome: Any = "refused" if isinstance(error, RefusedError) else "crashed"
            message = located(error, found) + advice(error)
            sender.send(Failed(outcome=outcome, message=message))
        raise


def located(error: BaseException, source: Source) -> str:
    """``mine.py:12: NameError: name 'x' is not defined``: the innermost line in the file.

    If there is none, the innermost one in a file beside it.
    """
    named, line = source.name, None
    for path, number in reversed(_frames(error)):
        if path == source.path:
            named, line = source.name, number
            break
        if line is None and _is_beside(path, source):
            beside = Path(path).relative_to(Path(source.path).parent)
            named, line = str(Path(source.name).parent / beside), number
    text = str(traceback.TracebackException(type(error), error, None))
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename in (source.path, None):
        named, line, text = source.name, error.lineno or None, error.msg
    elif isinstance(error, SystemExit):
        kind, text = f"it calls sys.exit({text})", ""
    place = named if line is None else f"{named}:{line}"
    words = " ".join(text.split())
    told = words if isinstance(error, FfprofError) else f"{kind}: {words}" if words else kind
    return f"{place}: {told}"[:800]


def _frames(error: BaseException) -> list[tuple[str, int]]:
    """File and line of every frame, the outermost first."""
    walked = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, number) for frame, number in walked]


def _is_beside(path: str, source: Source) -> bool:
    inside = Path(path).is_relative_to(Path(source.path).parent)
    return inside and "site-packages" not in Path(path).parts


def _advice(error: BaseException) -> str:
    """What to do about an error that keeps the file from being loaded."""
    if isinstance(error, FfprofError):
        return ""  # it says so itself
    if isinstance(error, ModuleNotFoundError):
        return "; install it where ffprof is installed, or correct the import"
    return "; mend the file"


def _no_advice(error: BaseException) -> str:
    return ""


def describe(source: Source) -> tuple[FileDescription, ...]:
    """The descriptions in a file, in its order.

    Raises:
        UsageError: what it decorates cannot be what it is declared to be.
        BaseException: whatever the file raises.
    """
    found = load_file(source)
    made: dict[str, FileDescription] = {}
    for rank, noted in enumerate(found.values(), FIRST_RANK):
        common: dict[str, Any] = {
            "id": noted.id,
            "method": noted.method or noted.id,
            "family": noted.family or FAMILY,
            "summary": noted.summary or f"from {Path(source.name).name}",
            "load": _Load(source=source, id=noted.id),
            "rank": rank,
            "source": source,
        }
        if noted.kind == "step":
            made[noted.id] = StepDescription(
                **common,
                schedule=noted.schedule or STEP_SCHEDULE,
                load_backbone=None,
                images=noted.images,
            )
        else:
            shared = noted.load_backbone is not None
            made[noted.id] = FileDescription(
                **common,
                schedule=noted.schedule or ("accumulated" if noted.accumulates else "full batch"),
                load_backbone=_LoadBackbone(source=source, id=noted.id) if shared else None,
                accumulates=noted.accumulates,
                reference=noted.reference or noted.id,
                rules=noted.rules,
                shares=noted.shares,
                steps_in_backward=noted.steps_in_backward,
            )
    for one in made.values():
        if isinstance(made.get(one.reference), StepDescription):
            raise UsageError(
                f"the reference {one.reference!r} of {one.id!r} is a step of the user's own",
                "name a workload whose gradients can be asked for",
            )
    return tuple(
        replace(one, sibling=made[one.reference])
        if one.reference in made and one.reference != one.id
        else one
        for one in made.values()
    )
