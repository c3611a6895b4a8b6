"""Backprop on the matched blocks: the baseline that shares everything with the local methods.

N1 and the path-2 norm are included ("matched"), then global average pool and one Linear.
Accumulation is the harness's: the same module is handed micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from ffprof.workload import Backward, Recipe
from workloads.backbones import Backbone


class Backprop(nn.Module):
    """End-to-end cross-entropy through all blocks."""

    def __init__(self, recipe: Recipe, state: Mapping[str, Tensor] | None) -> None:
        super().__init__()
        self.backbone = Backbone(recipe, state)
        self.head = nn.Linear(self.backbone.shapes[-1].channels, recipe.classes)

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, size, size) -> logits (n, classes)."""
        x = images
        for block in self.backbone:
            x = block.propagate(block.activate(x))
        logits: Tensor = self.head(x.mean((2, 3)))
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


def build(recipe: Recipe, backbone_state: Mapping[str, Tensor] | None) -> Backprop:
    """Backprop on the recipe's backbone."""
    return Backprop(recipe, backbone_state)
