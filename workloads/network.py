"""The network of the goodness-based methods: backbone, a head a unit, and the read-out.

Which rules a method keeps is a ``Rules``: DTG-FF has all of them, ASGE-like none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffprof.workload import Recipe
from workloads.architecture import patch_counts
from workloads.backbones import Backbone
from workloads.blocks import Unit
from workloads.goodness import (
    T_MAX,
    T_MIN,
    LocalHead,
    patch_energies,
    rectified_energies,
    standardised,
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What goodness is made of.

    Attributes:
        normalised: units have N1.
        standardised: g is standardised in each sample; else g is the energies themselves.
        tempered: a learned temperature a head, in the range ``between``; else T is ``fixed``.
    """

    normalised: bool = True
    standardised: bool = True
    tempered: bool = True
    between: tuple[float, float] = (T_MIN, T_MAX)
    fixed: float = 1.0


DTG_FF = Rules()
ASGE = Rules(normalised=False, standardised=False, tempered=False)  # like its predecessor (R)


class ReadOut(nn.Module):
    """Path 3: fuse the goodness of all units and classify it (fusion rule R)."""

    def __init__(self, widths: list[int], classes: int, norm: str) -> None:
        super().__init__()
        # One BatchNorm1d over the concatenation is the same as one a unit: it works a feature
        # at a time.
        self.norm = nn.BatchNorm1d(sum(widths), affine=False) if norm == "batch" else None
        self.linear = nn.Linear(sum(widths), classes)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """g_l, each (n, D_l) -> logits (n, classes)."""
        if self.norm is None:
            fused = torch.cat([F.layer_norm(g, g.shape[1:]) for g in parts], 1)
        else:
            fused = self.norm(torch.cat(parts, 1))
        logits: Tensor = self.linear(fused)
        return logits


class GoodnessNetwork(nn.Module):
    """Backbone, heads and read-out; subclasses add how a step is executed."""

    def __init__(
        self, recipe: Recipe, state: Mapping[str, Tensor] | None, rules: Rules = DTG_FF
    ) -> None:
        super().__init__()
        self.backbone = Backbone(recipe, state, normalised=rules.normalised)
        self.rules = rules
        shapes = self.backbone.shapes
        self.patches = patch_counts(shapes)
        widths = [s.channels * p * p for s, p in zip(shapes, self.patches, strict=True)]
        self.heads = nn.ModuleList(
            LocalHead(
                width,
                recipe.classes,
                tempered=rules.tempered,
                between=rules.between,
                fixed=rules.fixed,
            )
            for width in widths
        )
        self.readout = ReadOut(widths, recipe.classes, recipe.norm)

    def layers(self) -> Iterator[tuple[Unit, LocalHead, int]]:
        """Each unit with its head and its patches a side."""
        yield from zip(self.backbone, self.heads, self.patches, strict=True)

    def goodness(self, energies: Tensor) -> Tensor:
        """Energies (n, c, p, p) -> g (n, c p^2)."""
        return standardised(energies) if self.rules.standardised else energies.flatten(1)

    def local(self, unit: Unit, patches: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> g, whose graph ends at this unit, and a, which is in no graph."""
        b = unit.preactivate(x)
        g = self.goodness(rectified_energies(b, patches))
        return g, b.detach()

    def predict(self, images: Tensor, rule: str) -> Tensor:
        """Logits (n, classes) by one of the rules of ``predictions``.

        Raises:
            ValueError: unknown rule.
        """
        found = self.predictions(images)
        if rule not in found:
            raise ValueError(f"unknown prediction rule {rule!r}: {', '.join(found)}")
        return found[rule]

    def predictions(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (n, classes) by every rule.

        ``read`` is the fused read-out, ``last`` the last unit's, ``mean`` the mean log-probability
        of all units, and ``layer1`` and so on those of each unit.
        """
        x, parts, local = images, [], []
        for unit, head, patches in self.layers():
            a = unit.activate(x)
            parts.append(self.goodness(patch_energies(a, patches)))
            local.append(head(parts[-1]))
            if len(parts) < len(self.patches):
                x = unit.propagate(a)
        return {
            "read": self.readout(parts),
            "last": local[-1],
            "mean": torch.stack([z.log_softmax(1) for z in local]).mean(0),
            **{f"layer{number}": z for number, z in enumerate(local, 1)},
        }

    def backbone_state(self) -> dict[str, Tensor]:
        """The backbone under the names of the shared state."""
        return self.backbone.state_dict()

    def no_weight_decay(self) -> frozenset[str]:
        """The temperatures."""
        return frozenset(name for name, _ in self.named_parameters() if name.endswith(".alpha"))
