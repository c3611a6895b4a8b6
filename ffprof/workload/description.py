"""What a workload is: its torch-free description, and the registry.

A workload is one method under one schedule: one row of the table. It is *described* by a
torch-free object, found through the entry-point group ``ffprof.workloads``, so that listing
and checking workloads never imports torch; it is *built* only inside a trial, and then does what
``ffprof.workload.protocol`` asks.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeVar

from ffprof.errors import UsageError, did_you_mean
from ffprof.records.recipe import Recipe
from ffprof.records.statement import Paper
from ffprof.workload.protocol import BackboneState, Trainable
from ffprof.workload.settings import Setting, check_settings

if TYPE_CHECKING:
    from torch import Tensor

WORKLOAD_GROUP = "ffprof.workloads"
PRESET_GROUP = "ffprof.presets"
PAPER_GROUP = "ffprof.papers"

_Found = TypeVar("_Found")


class Builder(Protocol):
    """What builds a workload's module; its settings are keywords."""

    def __call__(
        self, recipe: Recipe, backbone_state: BackboneState | None, /, **settings: float
    ) -> Trainable:
        """The module, on the host."""


BackboneSource = Callable[[Recipe], "dict[str, Tensor]"]


@dataclass(frozen=True, kw_only=True)
class Description:
    """A workload as far as it can be known without torch.

    Attributes:
        id: the row's name, as typed after ``--workloads``.
        method: the learning rule; workloads of one method must have equal gradients at full
            batch, and the ledger says whether they do.
        schedule: how the step is executed, in words.
        family: what claims may refer to as ``family:NAME``.
        summary: one line for ``ffprof workloads``.
        load: imports the implementation and returns its builder; called inside a trial only.
        load_backbone: returns the function that draws the shared backbone state from the
            recipe's seed; None means that the workload brings its own, and the ledger says
            that the backbone is unmatched.
        accumulates: whether the harness cuts the batch into the recipe's micro-batches.
        shares: whether its backbone is the whole shared state, or a part of it under the same
            names (a method without norms); the ledger says how large a part.
        network: what its network has in addition to the backbone or leaves out of it, in words;
            rows that differ in it are listed below the table.
        steps_in_backward: whether each parameter is updated as soon as its gradient is ready.
            Neither accumulation nor fp16 goes with it, and one backward pass a parameter.
        reference: id of the workload whose full-batch gradient this one should have.
        check: returns why this workload cannot run under a recipe, or None.
        rules: prediction rules, the default first.
        settings: what else can be tuned of the method, two numbers at most; the builder is called
            with all of them, by name.
        core: whether ``--workloads core`` includes it.
        rank: the order of rows; smaller is further up.
    """

    id: str
    method: str
    schedule: str
    family: str
    summary: str
    load: Callable[[], Builder]
    load_backbone: Callable[[], BackboneSource] | None
    accumulates: bool = False
    shares: Literal["whole", "part"] = "whole"
    network: str = ""
    steps_in_backward: bool = False
    reference: str = ""
    check: Callable[[Recipe], str | None] | None = None
    rules: tuple[str, ...] = ("read",)
    settings: tuple[Setting, ...] = ()
    core: bool = False
    rank: int = 1000

    def __post_init__(self) -> None:
        for name in ("id", "method", "schedule", "family"):
            value = getattr(self, name)
            if not isinstance(value, str) or not 1 <= len(value) <= 100:
                raise ValueError(f"{name} of a workload needs 1 to 100 characters, not {value!r}")
        if self.steps_in_backward and self.accumulates:
            raise ValueError("a workload that steps inside backward cannot accumulate")
        check_settings(self.settings)

    def tuned(self, values: Mapping[str, float]) -> Self:
        """The same workload with other defaults of its settings.

        Raises:
            UsageError: it has no such setting, or not with such a value.
        """
        strange = values.keys() - {one.name for one in self.settings}
        if strange:
            raise UsageError(
                f"workload {self.id!r} has no setting {min(strange)}",
                "it has changed since it was tuned",
            )
        try:
            found = [
                replace(one, default=values.get(one.name, one.default)) for one in self.settings
            ]
        except ValueError as error:
            raise UsageError(
                f"workload {self.id!r}: {error}", "it has changed since it was tuned"
            ) from error
        return replace(self, settings=tuple(found))

    def micro_batch(self, recipe: Recipe) -> int:
        """Images handed over at a time under this workload's schedule."""
        return recipe.micro_batch if self.accumulates else recipe.batch

    def objection(self, recipe: Recipe) -> str | None:
        """Why this workload cannot run under the recipe, or None."""
        if self.steps_in_backward and recipe.precision == "fp16":
            return "it steps inside backward, and loss scaling must see all gradients before a step"
        if self.check is None:
            return None
        try:
            return self.check(recipe)
        except Exception as error:
            raise UsageError(
                f"the check of workload {self.id!r} failed ({type(error).__name__}: {error})",
                "fix it, or leave the workload out",
            ) from error


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named recipe; ``default_for`` names the kind of device it is the default on."""

    name: str
    summary: str
    recipe: Recipe
    default_for: Literal["cpu", "cuda"] | None = None


def workload_names() -> list[str]:
    """Ids of all registered workloads, in registration order."""
    return list(_registered(WORKLOAD_GROUP))


def preset_names() -> list[str]:
    """Names of all registered presets, in registration order."""
    return list(_registered(PRESET_GROUP))


def find_workload(name: str) -> Description:
    """The description registered under an id.

    Raises:
        UsageError: no such workload, or its description cannot be imported.
    """
    found = _load(WORKLOAD_GROUP, "workload", name, Description)
    if found.id != name:
        raise UsageError(
            f"workload {name!r} is registered, but its description has the id {found.id!r}",
            "give its entry point the same name",
        )
    return found


def find_preset(name: str) -> Preset:
    """The preset registered under a name.

    Raises:
        UsageError: no such preset, or it cannot be imported.
    """
    return _load(PRESET_GROUP, "preset", name, Preset)


def paper_names() -> list[str]:
    """Names of all registered papers, in registration order."""
    return list(_registered(PAPER_GROUP))


def find_paper(name: str | None = None) -> Paper:
    """The paper registered under a name, or the only one.

    Raises:
        UsageError: no such paper, none or several without a name, or it cannot be imported.
    """
    names = paper_names()
    if name is None and len(names) != 1:
        known = f"there are {', '.join(names)}" if names else "no paper is registered"
        fix = "name one of them" if names else "install ffprof with pip, again if it is older"
        raise UsageError(known, fix)
    return _load(PAPER_GROUP, "paper", names[0] if name is None else name, Paper)


def _registered(group: str) -> dict[str, set[EntryPoint]]:
    return _scanned(group, tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _scanned(group: str, _path: tuple[str, ...]) -> dict[str, set[EntryPoint]]:
    """One look at all installed packages for each search path: it takes hundredths of a second."""
    found: dict[str, set[EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, set()).add(point)
    return found


def _load(group: str, kind: str, name: str, wanted: type[_Found]) -> _Found:
    points = _registered(group)
    if name not in points:
        known = ", ".join(points) or "none is registered: install ffprof with pip"
        raise UsageError(
            f"unknown {kind} {name!r}", f"{did_you_mean(name, points)}known are: {known}"
        )
    if len({point.value for point in points[name]}) > 1:
        owners = sorted({point.dist.name for point in points[name] if point.dist})
        raise UsageError(
            f"{kind} {name!r} is registered more than once, by {', '.join(owners)}",
            "remove one of these packages",
        )
    try:
        found = next(iter(points[name])).load()
    except Exception as error:  # a plug-in's import may fail in any way
        raise UsageError(
            f"{kind} {name!r} is registered but cannot be imported "
            f"({type(error).__name__}: {error})",
            "reinstall or remove the package that registers it",
        ) from error
    if not isinstance(found, wanted):
        raise UsageError(
            f"{kind} {name!r} is registered as a {type(found).__name__}",
            f"its entry point must name a {wanted.__module__}.{wanted.__name__}",
        )
    return found
