"""DTG-FF: dynamic temperature goodness, decoupled normalisation, multi-layer fusion.

Block l takes x_l, detached, and computes a = ReLU(N1(conv(x_l))). Then

- path 1 (``workloads.goodness``): local loss = mean cross-entropy of g R / T; graph of this
  block only; all layers have weight 1 (R);
- path 2 (``Block.propagate``): the next block's input, never in the graph;
- path 3: the detached g_l, normalised without affine (BatchNorm1d, or LayerNorm under
  ``norm = group``), concatenated, into one Linear trained by cross-entropy (R).

Two schedules with the same gradients, bit for bit on a CPU:

- monolithic: forward all blocks, sum the losses, one backward. Every block's graph is alive at
  once although nothing crosses it, so memory grows with depth;
- streamed: forward, local backward and release, block by block. Only g_l stays, so the peak is
  that of the largest block. x_{l+1} is made after the local backward, when the block's graph is
  gone, which lowers the peak; it comes from this step's weights either way.

Marks: P paper, S its readers, A its predecessor, R reconstructed here. What is marked R must not
be presented as the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffprof.workload import Backward, Recipe
from workloads.architecture import patch_counts
from workloads.backbones import Backbone
from workloads.goodness import LocalHead, goodness


class ReadOut(nn.Module):
    """Path 3: fuse the goodness of all blocks and classify it (fusion rule R)."""

    def __init__(self, widths: list[int], classes: int, norm: str) -> None:
        super().__init__()
        # One BatchNorm1d over the concatenation is the same as one a block: it works a feature
        # at a time.
        self.norm = nn.BatchNorm1d(sum(widths), affine=False) if norm == "batch" else None
        self.linear = nn.Linear(sum(widths), classes)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Detached g_l, each (n, D_l) -> logits (n, classes)."""
        if self.norm is None:
            fused = torch.cat([F.layer_norm(g, g.shape[1:]) for g in parts], 1)
        else:
            fused = self.norm(torch.cat(parts, 1))
        logits: Tensor = self.linear(fused)
        return logits


class DtgFF(nn.Module):
    """The network of DTG-FF; subclasses add the schedule."""

    def __init__(self, recipe: Recipe, state: Mapping[str, Tensor] | None) -> None:
        super().__init__()
        self.backbone = Backbone(recipe, state)
        shapes = self.backbone.shapes
        self.patches = patch_counts(shapes)
        widths = [s.channels * p * p for s, p in zip(shapes, self.patches, strict=True)]
        self.heads = nn.ModuleList(LocalHead(width, recipe.classes) for width in widths)
        self.readout = ReadOut(widths, recipe.classes, recipe.norm)

    def predict(self, images: Tensor, rule: str) -> Tensor:
        """Logits (n, classes): ``read`` fused, ``last`` block, or ``mean`` log-probability.

        Raises:
            ValueError: unknown rule.
        """
        x, parts, local = images, [], []
        last = len(self.patches) - 1
        for index, (block, head) in enumerate(zip(self.backbone, self.heads, strict=True)):
            a = block.activate(x)
            parts.append(goodness(a, self.patches[index]))
            local.append(head(parts[-1]))
            if index < last:
                x = block.propagate(a)
        if rule == "read":
            logits: Tensor = self.readout(parts)
            return logits
        if rule == "last":
            last_logits: Tensor = local[-1]
            return last_logits
        if rule == "mean":
            return torch.stack([z.log_softmax(1) for z in local]).mean(0)
        raise ValueError(f"unknown prediction rule {rule!r}: read, last or mean")

    def backbone_state(self) -> dict[str, Tensor]:
        """The backbone under the names of the shared state."""
        return self.backbone.state_dict()

    def no_weight_decay(self) -> frozenset[str]:
        """The temperatures."""
        return frozenset(name for name, _ in self.named_parameters() if name.endswith(".alpha"))


class Monolithic(DtgFF):
    """Forward all blocks, sum the losses, one backward."""

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """See ``ffprof.workload.Trainable``; the loss is the sum over blocks and read-out."""
        x, parts, losses = images, [], []
        last = len(self.patches) - 1
        for index, (block, head) in enumerate(zip(self.backbone, self.heads, strict=True)):
            a = block.activate(x)
            g = goodness(a, self.patches[index])
            losses.append(F.cross_entropy(head(g), labels))
            parts.append(g.detach())
            if index < last:
                with torch.no_grad():
                    x = block.propagate(a.detach())
        losses.append(F.cross_entropy(self.readout(parts), labels))
        total = torch.stack(losses).sum()
        backward(total)
        return total.detach()


class Streamed(DtgFF):
    """Forward, local backward and release, block by block."""

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """See ``ffprof.workload.Trainable``; the loss is the sum over blocks and read-out."""
        x, parts, losses = images, [], []
        last = len(self.patches) - 1
        for index, (block, head) in enumerate(zip(self.backbone, self.heads, strict=True)):
            a = block.activate(x)
            g = goodness(a, self.patches[index])
            loss = F.cross_entropy(head(g), labels)
            parts.append(g.detach())
            losses.append(loss.detach())
            backward(loss)
            del g, loss
            if index < last:
                with torch.no_grad():
                    x = block.propagate(a.detach())
            del a
        loss = F.cross_entropy(self.readout(parts), labels)
        losses.append(loss.detach())
        backward(loss)
        return torch.stack(losses).sum()


def build_monolithic(recipe: Recipe, backbone_state: Mapping[str, Tensor] | None) -> Monolithic:
    """DTG-FF with one backward over all local losses."""
    return Monolithic(recipe, backbone_state)


def build_streamed(recipe: Recipe, backbone_state: Mapping[str, Tensor] | None) -> Streamed:
    """DTG-FF with one backward a block."""
    return Streamed(recipe, backbone_state)
