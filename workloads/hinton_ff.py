"""Hinton's Forward-Forward (arXiv 2212.13345) on the same units, streamed.

A positive image carries its label, a negative one another, drawn again each step. Each unit is
trained alone, to be more active on positive images than a threshold and less on negative ones:

    goodness G = mean over all channels and positions of a^2 (the mean: R)
    Loss_l = mean softplus(theta - G(positive)) + mean softplus(G(negative) - theta)

What is reconstructed here (R): theta = 1, the goodness that Kaiming weights give at the start;
units without N1, whose batch statistics would fix the very activity that is to be learned; the
path-2 norm between units, in the place of Hinton's length normalisation; and the label, which he
writes into the first pixels: a convolution sees these in one corner only, so here each class
adds a wave of its own over the whole image (spatially extended labels, as in arXiv 2312.14924).

Positive and negative images go through a unit together, 2n at a time, and each unit's backward
runs before the next unit's forward, as in Hinton's own code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffprof.workload import Backward, Recipe
from workloads.backbones import Backbone
from workloads.goodness import rectified_energies

THRESHOLD = 1.0  # theta (R)


def class_waves(classes: int) -> Tensor:
    """(classes, 3): cycles along each side and phase; two phases of every direction (R)."""
    side = math.ceil(math.sqrt(classes / 2)) + 1
    directions = sorted(
        ((down, across) for down in range(side) for across in range(side) if down + across),
        key=lambda d: (d[0] ** 2 + d[1] ** 2, d),
    )
    waves = [(*d, phase) for d in directions for phase in (0.0, math.pi / 2)]
    return torch.tensor(waves[:classes])


class HintonFF(nn.Module):
    """Units trained one by one to tell positive images from negative ones."""

    waves: Tensor

    def __init__(self, recipe: Recipe, state: Mapping[str, Tensor] | None) -> None:
        super().__init__()
        self.backbone = Backbone(recipe, state, normalised=False)
        self._classes = recipe.classes
        self.register_buffer("waves", class_waves(recipe.classes))

    def labelled(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (n, c, s, s) with the wave of each label (n,) added to every channel."""
        down, across, phase = self.waves[labels].to(images.dtype).unbind(1)
        at = torch.arange(images.shape[-1], device=images.device, dtype=images.dtype)
        at = at * (2 * math.pi / images.shape[-1])
        angle = (down[:, None] * at)[:, :, None] + (across[:, None] * at + phase[:, None])[:, None]
        return images + angle.cos()[:, None]

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """See ``ffprof.workload.Trainable``; the loss is the sum over units."""
        others = torch.randint(1, self._classes, labels.shape, device=labels.device)
        x = self.labelled(
            torch.cat((images, images)), torch.cat((labels, (labels + others) % self._classes))
        )
        losses: list[Tensor] = []
        count = len(labels)
        for unit in self.backbone:
            b = unit.preactivate(x)
            goodness = self._goodness(b)
            a = b.detach()
            del b
            if len(losses) + 1 < len(self.backbone):
                with torch.no_grad():
                    x = unit.propagate(a)
            del a
            loss = (
                F.softplus(THRESHOLD - goodness[:count]).mean()
                + F.softplus(goodness[count:] - THRESHOLD).mean()
            )
            losses.append(loss.detach())
            backward(loss)
            del goodness, loss
        return torch.stack(losses).sum()

    def predict(self, images: Tensor, rule: str) -> Tensor:
        """Logits (n, classes): the goodness of all units but the first, with each label in turn."""
        found = []
        for label in range(self._classes):
            x = self.labelled(images, torch.full((len(images),), label, device=images.device))
            total = torch.zeros(len(images), device=images.device)
            for index, unit in enumerate(self.backbone):
                b = unit.preactivate(x)
                goodness = self._goodness(b)
                x = unit.propagate(b)
                if index or len(self.backbone) == 1:
                    total = total + goodness
            found.append(total)
        return torch.stack(found, 1)

    @staticmethod
    def _goodness(b: Tensor) -> Tensor:
        """Mean of ReLU(b)^2 (n,); afterwards b holds ReLU(b)."""
        return rectified_energies(b, 1).square().mean((1, 2, 3))

    def backbone_state(self) -> dict[str, Tensor]:
        """The backbone under the names of the shared state."""
        return self.backbone.state_dict()

    def no_weight_decay(self) -> frozenset[str]:
        """Nothing is excluded."""
        return frozenset()


def build(recipe: Recipe, backbone_state: Mapping[str, Tensor] | None) -> HintonFF:
    """Hinton's Forward-Forward on the recipe's backbone."""
    return HintonFF(recipe, backbone_state)
