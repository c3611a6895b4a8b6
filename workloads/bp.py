"""Backprop: on the matched blocks or the plain ones, checkpointed, or offloaded.

Matched: N1 and the path-2 norm are included, as in the local methods. Plain: conv-N1-ReLU[-pool]
(for residual networks torchvision's), what people actually run; it stores one tensor less a unit.
Both end in global average pool and one Linear. Accumulation and stepping inside backward are the
harness's: the same module is handed micro-batches, or its parameters get hooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ffprof.workload import Backward, Recipe
from workloads.architecture import block_shapes
from workloads.backbones import Backbone
from workloads.batch_norm import kept_statistics
from workloads.blocks import Unit
from workloads.offload import Offload

State = Mapping[str, Tensor] | None


def _matched(units: Sequence[Unit], x: Tensor) -> Tensor:
    for unit in units:
        x = unit.propagate(unit.activate(x))
    return x


def _plain(units: Sequence[Unit], x: Tensor) -> Tensor:
    for unit in units:
        x = unit.shrink(unit.activate(x))
    return x


class Backprop(nn.Module):
    """End-to-end cross-entropy through all units.

    Args:
        recipe: see ``ffprof.workload``.
        state: the shared backbone.
        through: how units are run one after the other.
    """

    def __init__(
        self,
        recipe: Recipe,
        state: State,
        through: Callable[[Sequence[Unit], Tensor], Tensor] = _matched,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(recipe, state)
        self.head = nn.Linear(self.backbone.shapes[-1].channels, recipe.classes)
        self._through = through

    def features(self, images: Tensor) -> Tensor:
        """(n, channels, size, size) -> (n, channels of the last unit, s, s)."""
        return self._through(list(self.backbone), images)

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, size, size) -> logits (n, classes)."""
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """One forward, one backward; see ``ffprof.workload.Trainable``."""
        loss = F.cross_entropy(self(images), labels)
        backward(loss)
        return loss.detach()

    def predict(self, images: Tensor, rule: str) -> Tensor:
        """Logits (n, classes); the only rule is ``read``."""
        logits: Tensor = self(images)
        return logits

    def backbone_state(self) -> dict[str, Tensor]:
        """The backbone under the names of the shared state."""
        return self.backbone.state_dict()

    def no_weight_decay(self) -> frozenset[str]:
        """Nothing is excluded."""
        return frozenset()


class Checkpointed(Backprop):
    """Keeps the inputs of segments of units and recomputes the rest in backward.

    The last segment is not computed again: its backward comes first, when nothing could have
    been freed yet. Running statistics are updated by the first forward only.

    Args:
        recipe: see ``ffprof.workload``.
        state: the shared backbone.
        segments: how many of equal length; None for one a unit.
    """

    def __init__(self, recipe: Recipe, state: State, segments: int | None = None) -> None:
        super().__init__(recipe, state)
        units = list(self.backbone)
        size = math.ceil(len(units) / (segments or len(units)))
        self._segments = [units[i : i + size] for i in range(0, len(units), size)]

    def features(self, images: Tensor) -> Tensor:
        """See ``Backprop``."""
        x = images
        for segment in self._segments[:-1]:
            x = checkpoint(
                self._through,
                segment,
                x,
                use_reentrant=False,
                preserve_rng_state=False,  # nothing here draws random numbers
                context_fn=partial(_contexts, segment),
            )
        return self._through(self._segments[-1], x)


def _contexts(
    segment: Sequence[Unit],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), kept_statistics(segment)


class Offloaded(Backprop):
    """Saved activations wait on the host; see ``workloads.offload``."""

    def features(self, images: Tensor) -> Tensor:
        """See ``Backprop``."""
        with Offload([*self.parameters(), *self.buffers()]):
            return super().features(images)


def build(recipe: Recipe, backbone_state: State) -> Backprop:
    """Backprop on the matched blocks."""
    return Backprop(recipe, backbone_state)


def build_plain(recipe: Recipe, backbone_state: State) -> Backprop:
    """Backprop on the plain blocks."""
    return Backprop(recipe, backbone_state, _plain)


def build_checkpointed(recipe: Recipe, backbone_state: State) -> Checkpointed:
    """Checkpointed unit by unit."""
    return Checkpointed(recipe, backbone_state)


def build_sqrt(recipe: Recipe, backbone_state: State) -> Checkpointed:
    """Checkpointed in about sqrt(L) segments of L units (Chen et al., arXiv 1604.06174)."""
    units = len(block_shapes(recipe))
    return Checkpointed(recipe, backbone_state, math.ceil(math.sqrt(units)))


def build_offloaded(recipe: Recipe, backbone_state: State) -> Offloaded:
    """Saved activations on the host."""
    return Offloaded(recipe, backbone_state)
