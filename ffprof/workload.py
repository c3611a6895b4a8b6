"""What a workload is: the protocol, its torch-free description, and the registry.

A workload is one method under one schedule: one row of the table. It is *described* by a
torch-free object, found through the entry-point group ``ffprof.workloads``, so that listing
and checking workloads never imports torch; it is *built* only inside a trial.

How a step is fed (matching by construction). The harness owns the batch: it draws the
effective batch of B images from the recipe's seed, cuts it into the schedule's micro-batches,
moves one at a time to the device and hands each over with its weight n_i / B::

    module = build(recipe, backbone_state)
    for images, labels in micro_batches:                 # the harness's loop
        module.accumulate(images, labels, weight, backward)
    optimizer.step(); optimizer.zero_grad()              # the harness's too

``backward(loss)`` multiplies the loss by the weight, leaves autocast and runs the backward
pass. A workload calls it once, or once a block. It makes no optimizer, takes no step, chooses
no batch and no precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ffprof.errors import UsageError
from ffprof.recipe import Claim, Recipe, Reference

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "Backward",
    "Builder",
    "Carried",
    "Claim",
    "Description",
    "Preset",
    "Recipe",
    "Reference",
    "Trainable",
    "find_preset",
    "find_workload",
    "preset_names",
    "workload_names",
]

WORKLOAD_GROUP = "ffprof.workloads"
PRESET_GROUP = "ffprof.presets"

_Found = TypeVar("_Found")
BackboneState = Mapping[str, "Tensor"]


Carried = tuple["Tensor", "Tensor"]  # a tensor of the graph, and the gradient that reaches it


class Backward(Protocol):
    """The function handed to ``accumulate``: one backward pass under the harness's conditions."""

    def __call__(self, loss: Tensor, carried: Sequence[Carried] = (), /) -> None:
        """Run backward from a scalar mean loss over the micro-batch.

        Args:
            loss: weighted, and scaled under fp16, before the pass.
            carried: further starting points, for schedules that carry gradients over by hand:
                tensors of the same graph, each with a gradient that an earlier call of this
                function has left in some ``.grad``, so that weight and scale are in it already.
        """


class Trainable(Protocol):
    """The module that a workload builds: an ``nn.Module`` with the methods below."""

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """Add the gradients of one micro-batch; return its mean loss, detached, a scalar.

        Args:
            images: (n, channels, size, size), on the device.
            labels: (n,), int64, on the device.
            weight: n / B. ``backward`` applies it already; it is handed over for workloads
                that write gradients themselves.
            backward: see ``Backward``; may be called repeatedly.
        """

    def predict(self, images: Tensor, rule: str) -> Tensor:
        """Logits (n, classes) under one of the description's prediction rules."""

    def backbone_state(self) -> BackboneState:
        """The parameters that must equal the state handed to ``build``, under its names."""

    def no_weight_decay(self) -> Set[str]:
        """Names of parameters that the optimizer must not decay."""

    # What the harness uses of nn.Module.
    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...  # noqa: D102
    def buffers(self) -> Iterator[Tensor]: ...  # noqa: D102
    def modules(self) -> Iterator[nn.Module]: ...  # noqa: D102
    def train(self, mode: bool = True) -> Any: ...  # noqa: D102
    def to(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102


Builder = Callable[[Recipe, BackboneState | None], Trainable]
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
        steps_in_backward: whether each parameter is updated as soon as its gradient is ready.
            Neither accumulation nor fp16 goes with it, and one backward pass a parameter.
        reference: id of the workload whose full-batch gradient this one should have.
        check: returns why this workload cannot run under a recipe, or None.
        rules: prediction rules, the default first.
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
    steps_in_backward: bool = False
    reference: str = ""
    check: Callable[[Recipe], str | None] | None = None
    rules: tuple[str, ...] = ("read",)
    core: bool = False
    rank: int = 1000

    def __post_init__(self) -> None:
        for name in ("id", "method", "schedule", "family"):
            value = getattr(self, name)
            if not isinstance(value, str) or not 1 <= len(value) <= 100:
                raise ValueError(f"{name} of a workload needs 1 to 100 characters, not {value!r}")
        if self.steps_in_backward and self.accumulates:
            raise ValueError("a workload that steps inside backward cannot accumulate")

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
                "mend it, or leave the workload out",
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


def _registered(group: str) -> dict[str, set[EntryPoint]]:
    found: dict[str, set[EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, set()).add(point)
    return found


def _load(group: str, kind: str, name: str, wanted: type[_Found]) -> _Found:
    points = _registered(group)
    if name not in points:
        known = ", ".join(points) or "none is registered: install ffprof with pip"
        raise UsageError(f"unknown {kind} {name!r}", f"known are: {known}")
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
