"""Loads a file of the user's own in a child process, and finds what it registers."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from ffprof.errors import RefusedError, UsageError
from ffprof.registration import (
    ID_LENGTH,
    Registration,
    check_id,
    check_images,
    registrations,
)


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
    if source not in _loaded:
        before = len(registrations())
        module = _execute(source)
        # What it imports may be somebody's workload file too, and is not meant here.
        noted = [one for one in registrations()[before:] if one.module == module.__name__]
        _loaded[source] = _by_id(source, module, noted)
    return _loaded[source]


def _execute(source: Source) -> ModuleType:
    content = Path(source.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise RefusedError(
            "the file has changed since the audit began", "leave it alone until the audit is over"
        )
    name = _module_name(source)
    code = compile(content, source.path, "exec", dont_inherit=True)
    module = ModuleType(name)
    module.__file__ = source.path
    # As Python does for a script: what lies beside the file can be imported.
    sys.path.insert(0, str(Path(source.path).parent))
    sys.modules[name] = module  # dataclasses, pickle and what the file imports look it up there
    exec(code, module.__dict__)
    return module


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
        return build if callable(build) and _names(build) == ["device"] else None
    if not callable(build) or not _takes(build, 1):
        raise UsageError(
            "its build cannot be called with a device alone",
            "define build(device), or decorate it with ffprof.register_workload",
        )
    return build  # type: ignore[no-any-return]


def _check_target(one: Registration) -> None:
    target, name = one.target, getattr(one.target, "__name__", "it")
    if one.kind == "step":
        if not _takes(target, 1):
            raise UsageError(f"{name} cannot be called with a device alone", "take (device)")
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
    if not _takes(target, 2):
        raise UsageError(
            f"{name} cannot be called with a recipe and a backbone state",
            "take (recipe, backbone_state)",
        )


def _names(target: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # some callables have no signature
        return []


def _takes(target: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments, as far as its signature tells."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # some callables have no signature
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _default_id(target: Callable[..., Any], stem: str) -> str:
    name = str(getattr(target, "__name__", stem))
    if name == "build":
        return _tidy(stem)
    # HalfNet -> half-net
    return _tidy(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower())


def _tidy(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:ID_LENGTH] or "own"
