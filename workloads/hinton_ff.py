"""Hinton's Forward-Forward (arXiv 2212.13345) on the same units, streamed.

A positive image carries its label, a negative one another, drawn again each step. Each unit is
trained alone, to be more active on the positive image than on its negative twin (R: the symmetric
loss of SymBa, arXiv 2303.08418, in the place of two losses around a threshold, which learned far
less here):

    goodness G = mean over all channels and positions of a^2 (the mean: R)
    Loss_l = mean softplus(SCALE * (G(negative) - G(positive)))

What else is reconstructed here (R): units without N1, whose batch statistics would fix the very
activity that is to be learned; the path-2 norm between units, in the place of Hinton's length
normalisation; and the label, which he writes into the first pixels: a convolution sees these in
one corner only, so here each class adds a smooth random pattern of its own over the whole image
(spatially extended labels, as in arXiv 2312.14924).

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
from workloads.precision import without_autocast

# Chosen on validation images of Fashion-MNIST (R): docs/learning.md.
SCALE = 256.0  # of a difference of mean squares: Hinton's goodness is a sum over units
FREQUENCIES = 4  # cosines along each side of a pattern
STRENGTH = 0.5**0.5  # root mean square of a pattern; images have 1


def cosines(size: int) -> Tensor:
    """(size, FREQUENCIES): the first vectors of the discrete cosine transform (DCT-II)."""
    at = (torch.arange(size) + 0.5) * (math.pi / size)
    return torch.cos(at[:, None] * torch.arange(FREQUENCIES))


def class_patterns(classes: int, channels: int, size: int, strength: float = STRENGTH) -> Tensor:
    """Random weights (classes, channels, F, F) of cosines, without a constant; see ``STRENGTH``."""
    weights = torch.randn(classes, channels, FREQUENCIES, FREQUENCIES)
    weights[:, :, 0, 0] = 0
    basis = cosines(size)
    squares = (basis @ weights @ basis.T).square().mean((1, 2, 3), keepdim=True)
    return weights * (strength / squares.sqrt())


class HintonFF(nn.Module):
    """Units trained one by one to tell positive images from negative ones."""

    patterns: Tensor
    basis: Tensor

    def __init__(
        self,
        recipe: Recipe,
        state: Mapping[str, Tensor] | None,
        *,
        scale: float = SCALE,
        strength: float = STRENGTH,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(recipe, state, normalised=False)
        self._classes, self._scale = recipe.classes, scale
        drawn = class_patterns(recipe.classes, recipe.channels, recipe.image_size, strength)
        self.register_buffer("patterns", drawn)
        self.register_buffer("basis", cosines(recipe.image_size))

    def labelled(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (n, c, s, s) with the pattern of each label (n,) added."""
        with without_autocast(images):
            across = self.patterns[labels] @ self.basis.T
            patterns = across.transpose(2, 3) @ self.basis.T
        return images + patterns.to(images.dtype)

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
            loss = F.softplus(self._scale * (goodness[count:] - goodness[:count])).mean()
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


def build(
    recipe: Recipe, backbone_state: Mapping[str, Tensor] | None, **settings: float
) -> HintonFF:
    """Hinton's Forward-Forward on the recipe's backbone."""
    return HintonFF(recipe, backbone_state, **settings)
