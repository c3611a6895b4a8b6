"""A file of the user's own: described in one child process, and run in others.

The file imports torch, may print, hang or crash; so the parent reads its bytes and nothing more.
A child loads it, finds what it registers and sends back descriptions, which hold no objects of the
file, only where to find them. Every trial loads the file again in a process of its own, and only if
it still holds the very bytes that the parent read.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from ffprof.errors import RefusedError, UsageError
from ffprof.workload.decorators import (
    ID_LENGTH,
    Registration,
    check_id,
    check_images,
    registrations,
)
from ffprof.workload.description import BackboneSource, Builder, Description, find_workload
from ffprof.workload.signature import names_of, sizes_of, takes, takes_batch, takes_device
from ffprof.workload.step import StepDescription


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file and what it held when the audit began; ``name`` is its path as it was given."""

    name: str
    path: str
    sha256: str


_loaded: dict[Source, dict[str, Registration]] = {}


def load_file(source: Source) -> dict[str, Registration]:
    """Run a file in this process, once, and return what it registers, by id.

    Raises:
        RefusedError: it no longer holds what it held when the audit began.
        UsageError: it registers nothing, or something that cannot be meant.
        BaseException: whatever the file raises.
    """
    _open_folder(Path(source.path).parent)
    if source not in _loaded:
        before = len(registrations())
        module = _execute(source)
        # What it imports may be someone's workload file too, and is not meant here.
        noted = [one for one in registrations()[before:] if one.module == module.__name__]
        _loaded[source] = _by_id(source, module, noted)
    return _loaded[source]


def _execute(source: Source) -> ModuleType:
    content = Path(source.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise RefusedError(
            "the file has changed since the audit began",
            "do not change it until the audit has ended",
        )
    name = _module_name(source)
    code = compile(content, source.path, "exec", dont_inherit=True)
    module = ModuleType(name)
    module.__file__ = source.path
    sys.modules[name] = module  # dataclasses, pickle and what the file imports look it up there
    exec(code, module.__dict__)
    return module


class _Beside(importlib.abc.MetaPathFinder):
    """Finds what lies next to a file, as Python does for a script, for imports by that file alone.

    Others that import, such as torch, do not get the user's ``random.py`` or ``profile.py``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What Python asks of a finder."""
        if path is not None or not self._is_for(_importer()):
            return None
        return PathFinder.find_spec(name, [str(self._folder)], target)

    def _is_for(self, file: str) -> bool:
        inside = bool(file) and Path(file).is_relative_to(self._folder)
        return inside and "site-packages" not in Path(file).parts


def _importer() -> str:
    """The file of the code that imports; empty where it has none."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != "importlib":
            return str(frame.f_code.co_filename)
        frame = frame.f_back
    return ""


def _open_folder(folder: Path) -> None:
    """Let a file import what lies next to it; that of a file before is closed.

    The folder is last on the path as well, where it takes nothing's place: processes that the file
    starts, such as those that load data, look there for what they are sent.
    """
    closed = [one for one in sys.meta_path if isinstance(one, _Beside)]
    for one in closed:
        sys.meta_path.remove(one)
        if str(one._folder) in sys.path:
            sys.path.remove(str(one._folder))
    sys.meta_path.insert(0, _Beside(folder))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _module_name(source: Source) -> str:
    """The file's stem, unless that cannot be imported or is the name of something else."""
    stem = Path(source.path).stem
    taken = stem in sys.modules or stem in sys.stdlib_module_names
    if stem.isidentifier() and not taken and importlib.util.find_spec(stem) is None:
        return stem
    return f"ffprof_own_{_tidy(stem).replace('-', '_').replace('.', '_')}"


def _by_id(
    source: Source, module: ModuleType, noted: list[Registration]
) -> dict[str, Registration]:
    plain = _plain_build(module, noted)
    if plain is not None:
        images = check_images(getattr(plain, "images", None))
        stem = Path(source.path).stem
        noted.append(
            Registration(
                target=plain,
                module=module.__name__,
                kind="step",
                id=_tidy(stem),
                images=images,
            )
        )
    if not noted:
        raise UsageError(
            "it has no workload",
            "decorate a class with ffprof.register_workload, or define build(device)",
        )
    found: dict[str, Registration] = {}
    for one in noted:
        _check_target(one)
        name = check_id("id", one.id or _default_id(one.target, Path(source.path).stem))
        if name in found:
            raise UsageError(f"two workloads have the id {name!r}", "give each an id of its own")
        images = one.images
        if one.kind == "step" and images is None:
            images = check_images(getattr(one.target, "images", None))
        found[name] = replace(one, id=name, images=images)
    return found


def _plain_build(module: ModuleType, noted: list[Registration]) -> Callable[..., Any] | None:
    """The undecorated ``build(device)`` of a file.

    Where something else is decorated, a function of that name counts only if its parameter is
    called ``device``: it may be a builder's helper.
    """
    build = getattr(module, "build", None)
    if build is None or any(one.target is build for one in noted):
        return None
    if noted:
        names = names_of(build) if callable(build) else []
        return build if names == ["device"] or names[:2] == ["device", "batch"] else None
    if not callable(build) or not takes_device(build):
        raise UsageError(
            "its build cannot be called with a device alone",
            "define build(device) or build(device, batch), or decorate it with "
            "ffprof.register_workload",
        )
    return build  # type: ignore[no-any-return]


def _check_target(one: Registration) -> None:
    target, name = one.target, getattr(one.target, "__name__", "it")
    if one.kind == "step":
        if not takes_device(target):
            raise UsageError(
                f"{name} cannot be called with a device alone", "take (device) or (device, batch)"
            )
        if takes_batch(target) and one.images is not None:
            raise UsageError(
                f"{name} declares its images and takes a batch", "leave images out: batch says it"
            )
        return
    if inspect.isclass(target):
        from torch import nn

        if not issubclass(target, nn.Module):
            raise UsageError(f"{name} is not an nn.Module", "derive it from torch.nn.Module")
        if not callable(getattr(target, "accumulate", None)):
            raise UsageError(
                f"{name} has no method accumulate",
                "define accumulate(self, images, labels, weight, backward)",
            )
    settings = [setting.name for setting in one.settings]
    if not takes(target, 2, settings):
        raise UsageError(
            f"{name} cannot be called with a recipe and a backbone state"
            + (f" and {' and '.join(settings)} by name" if settings else ""),
            f"take ({', '.join(['recipe', 'backbone_state', *settings])})",
        )


def _default_id(target: Callable[..., Any], stem: str) -> str:
    name = str(getattr(target, "__name__", stem))
    if name == "build":
        return _tidy(stem)
    # HalfNet -> half-net
    return _tidy(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower())


def _tidy(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:ID_LENGTH] or "own"


FAMILY = "own"
STEP_SCHEDULE = "the user's own step"
FIRST_RANK = 1000  # below the registered ones, in the order of the file


@dataclass(frozen=True, kw_only=True)
class FileDescription(Description):
    """A workload in a file; ``sibling`` is its reference if that is in the same file too."""

    source: Source
    sibling: FileDescription | None = None


@dataclass(frozen=True, kw_only=True)
class FileStep(FileDescription, StepDescription):
    """A step in a file."""


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
        from ffprof.workload.adapter import adapted_builder

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


def address(description: Description) -> str | Description:
    """What a child finds a workload by: its registered id, or else all of its description."""
    own = isinstance(description, FileDescription | StepDescription)
    return description if own else description.id


def addressed(found: str | Description) -> Description:
    """The workload of an address, in the child."""
    return find_workload(found) if isinstance(found, str) else found


def reference_address(description: Description) -> str | Description:
    """The same for the workload whose full-batch gradient it should have."""
    if isinstance(description, FileDescription):
        if description.reference == description.id:
            return description
        if description.sibling is not None:
            return description.sibling
    return description.reference


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
            made[noted.id] = FileStep(
                **common,
                schedule=noted.schedule or STEP_SCHEDULE,
                load_backbone=None,
                images=noted.images,
                takes_batch=takes_batch(noted.target),
                sizes=sizes_of(noted.target),
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
                settings=noted.settings,
            )
    for one in made.values():
        if isinstance(made.get(one.reference), FileStep):
            raise UsageError(
                f"the reference {one.reference!r} of {one.id!r} is a user-defined step",
                "name a workload whose gradients ffprof can compute",
            )
    return tuple(
        replace(one, sibling=made[one.reference])
        if one.reference in made and one.reference != one.id
        else one
        for one in made.values()
    )
