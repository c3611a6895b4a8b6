"""Decorators that put a class or a function of the user's own file into the table.

They note what the harness must know, check it, and return what they decorate unchanged, without
importing torch. ``ffprof run --workload-file mine.py`` loads the file in child processes and reads
the notes there; elsewhere they do nothing::

    @register_workload(summary="backprop through half of the blocks")
    class Half(nn.Module):                    # built as Half(recipe, backbone_state)
        def accumulate(self, images, labels, weight, backward): ...

    @register_step(images=64)
    def mine(device):                         # returns a callable that does one optimizer step
        ...
        return step
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ffprof.errors import UsageError
from ffprof.workload.settings import Setting, check_settings

ID_LENGTH = 80  # a trial's name is the id with its round and position, and has 100 characters
MAX_IMAGES = 1_000_000
_ID = re.compile(rf"\w[\w.-]{{0,{ID_LENGTH - 1}}}")
_RESERVED = ("core", "all")  # words of --workloads

_Target = TypeVar("_Target", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What a decorator was given; empty texts are filled in from the names of class and file.

    ``module`` is the name of the module that decorates. ``kind`` is ``workload`` for something
    that the harness feeds, ``step`` for a step that does everything by itself, of ``images``
    images (None: not declared).
    """

    target: Callable[..., Any]
    module: str
    kind: Literal["workload", "step"]
    id: str = ""
    method: str = ""
    schedule: str = ""
    family: str = ""
    summary: str = ""
    accumulates: bool = False
    reference: str = ""
    load_backbone: Callable[..., Any] | str | None = None
    rules: tuple[str, ...] = ("read",)
    shares: Literal["whole", "part"] = "whole"
    steps_in_backward: bool = False
    settings: tuple[Setting, ...] = ()
    images: int | None = None


_noted: list[Registration] = []


def registrations() -> tuple[Registration, ...]:
    """Everything that was decorated in this process, in order."""
    return tuple(_noted)


def register_workload(
    target: _Target | None = None,
    /,
    *,
    id: str | None = None,
    method: str | None = None,
    schedule: str | None = None,
    family: str | None = None,
    summary: str | None = None,
    accumulates: bool = False,
    reference: str | None = None,
    load_backbone: Callable[..., Any] | str | None = None,
    rules: Sequence[str] = ("read",),
    shares: str = "whole",
    steps_in_backward: bool = False,
    settings: Sequence[Setting] = (),
) -> Any:
    """Decorate an ``nn.Module`` class, or a function ``(recipe, backbone_state) -> nn.Module``.

    The module needs ``accumulate``; see ``ffprof.workload.protocol.Trainable`` for that and for the
    methods that it may have. Used with or without parentheses, and more than once on a class to
    give it several rows.

    Args:
        target: what is decorated, if there are no parentheses.
        id: the row's name; from the name of the class or function if not given.
        method: the learning rule; the id if not given.
        schedule: how a step is executed, in words.
        family: what claims may refer to as ``family:NAME``.
        summary: one line.
        accumulates: whether it is handed micro-batches instead of the whole batch.
        reference: id of the workload whose full-batch gradient it should have; itself if not
            given.
        load_backbone: the function that draws the shared backbone from the recipe, or its name
            as ``module:function``. Its result is handed over as ``backbone_state``, and the
            module must show it again by its method ``backbone_state``. Without it the backbone
            is the module's own, and the ledger says that it is unmatched.
        rules: prediction rules that ``predict`` knows, the default first.
        shares: ``part`` if its backbone has a part of the shared state only.
        steps_in_backward: whether parameters are updated as soon as their gradients are ready.
        settings: what ``ffprof learn --tune`` may tune, two of ``ffprof.workload.Setting`` at
            most; they are handed over by name when the module is built.

    Raises:
        UsageError: a value cannot be meant.
    """
    if not (load_backbone is None or callable(load_backbone) or _is_address(load_backbone)):
        raise UsageError(
            f"load_backbone is {load_backbone!r}",
            "give the function that draws the shared backbone, or 'module:function'",
        )
    if isinstance(rules, str) or not all(isinstance(rule, str) for rule in rules) or not rules:
        raise UsageError(f"rules is {rules!r}", "give a tuple of names, such as ('read',)")
    for name, value in (("accumulates", accumulates), ("steps_in_backward", steps_in_backward)):
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {value!r}", "write True or False")
    if accumulates and steps_in_backward:
        raise UsageError("steps_in_backward and accumulates cannot be combined", "leave out one")
    if shares not in ("whole", "part"):
        raise UsageError(f"shares is {shares!r}", "write 'whole' or 'part'")
    if isinstance(settings, str) or not all(isinstance(one, Setting) for one in settings):
        raise UsageError(f"settings is {settings!r}", "give a tuple of ffprof.workload.Setting")
    try:
        check_settings(settings)
    except ValueError as error:
        raise UsageError(str(error), "leave one out") from error
    values: dict[str, Any] = {
        "module": _caller(),
        "kind": "workload",
        "id": _id("id", id),
        "method": _text("method", method),
        "schedule": _text("schedule", schedule),
        "family": _text("family", family),
        "summary": _text("summary", summary),
        "accumulates": accumulates,
        "reference": _id("reference", reference),
        "load_backbone": load_backbone,
        "rules": tuple(rules),
        "shares": shares,
        "steps_in_backward": steps_in_backward,
        "settings": tuple(settings),
    }
    return _decorator("register_workload", target, values)


def register_step(
    target: _Target | None = None,
    /,
    *,
    id: str | None = None,
    images: int | None = None,
    method: str | None = None,
    schedule: str | None = None,
    family: str | None = None,
    summary: str | None = None,
) -> Any:
    """Decorate a function ``build(device) -> step`` whose step does everything by itself.

    ``step()`` does one optimizer step with the user's own model, data and optimizer, and may
    return its loss. Nothing of it is matched with other rows, and the ledger says so.

    Args:
        target: what is decorated, if there are no parentheses.
        id: the row's name; from the function's name if not given.
        images: images a step; the recipe's batch is assumed, and said to be, if not given.
        method: the learning rule; the id if not given.
        schedule: how a step is executed, in words.
        family: what claims may refer to as ``family:NAME``.
        summary: one line.

    Raises:
        UsageError: a value cannot be meant.
    """
    values: dict[str, Any] = {
        "module": _caller(),
        "kind": "step",
        "id": _id("id", id),
        "method": _text("method", method),
        "schedule": _text("schedule", schedule),
        "family": _text("family", family),
        "summary": _text("summary", summary),
        "images": check_images(images),
    }
    return _decorator("register_step", target, values)


def check_images(images: object) -> int | None:
    """The declared images a step, or None if there is no declaration.

    Raises:
        UsageError: no such number of images.
    """
    if images is None:
        return None
    if not isinstance(images, int) or isinstance(images, bool) or not 1 <= images <= MAX_IMAGES:
        raise UsageError(
            f"images is {images!r}", f"give the images of one step, 1 to {MAX_IMAGES:,}"
        )
    return int(images)


def check_id(name: str, value: str) -> str:
    """An id that can be typed after ``--workloads`` and printed.

    Raises:
        UsageError: it cannot.
    """
    if not _ID.fullmatch(value) or value in _RESERVED or not value.isprintable():
        raise UsageError(
            f"{name} {value!r} cannot be used",
            f"take letters, digits, '.', '_' and '-', at most {ID_LENGTH}, and not "
            + " or ".join(_RESERVED),
        )
    return value


def _decorator(name: str, target: object, values: dict[str, Any]) -> Any:
    def decorate(found: _Target) -> _Target:
        if not callable(found):
            raise UsageError(
                f"{name} decorates a {type(found).__name__}",
                f"decorate a class or a function; options are named, as in {name}(id='mine')",
            )
        _noted.append(Registration(target=found, **values))
        return found

    return decorate if target is None else decorate(target)  # type: ignore[type-var]


def _caller() -> str:
    """The module that calls the public function that asks."""
    return str(sys._getframe(2).f_globals.get("__name__", ""))


def _id(name: str, value: str | None) -> str:
    text = _text(name, value)
    return check_id(name, text) if text or value is not None else ""


def _text(name: str, value: str | None) -> str:
    if value is None:
        return ""
    if type(value) is not str or not value.isprintable() or len(value) > ID_LENGTH:
        raise UsageError(
            f"{name} is {value!r}", f"give at most {ID_LENGTH} printable characters on one line"
        )
    return value


def _is_address(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.]+:\w+", value) is not None
