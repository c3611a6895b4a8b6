"""DTG-FF: dynamic temperature goodness, decoupled normalisation, multi-layer fusion.

Unit l takes x_l, detached, and computes a = ReLU(N1(conv(x_l))). Then

- path 1 (``workloads.goodness``): local loss = mean cross-entropy of g R / T; graph of this
  unit only; all layers have weight 1 (R);
- path 2 (``Unit.propagate``): the next unit's input, never in the graph;
- path 3: the detached g_l, normalised without affine (BatchNorm1d, or LayerNorm under
  ``norm = group``), concatenated, into one Linear trained by cross-entropy (R).

Variants that loosen a detach: *coupled* lets path 3 train the units, each through its own g_l
(that such a term exists is S, its form R); deep supervision detaches nothing.

Schedules, each with the gradients of the first, bit for bit on a CPU:

- monolithic: forward all units, sum the losses, one backward. Every unit's graph is alive at
  once although nothing crosses it, so memory grows with depth;
- streamed: forward, local backward and release, unit by unit. Only g_l stays, so the peak is
  that of the largest unit;
- two-pass, for the coupled variant: no unit can finish its backward before the last forward. A
  first pass without graph gives delta_l = dLoss_f/dg_l; a second streams through the units, each
  with its local loss and delta_l. Running statistics are updated in the first pass only.

Marks: P paper, S its readers, A its predecessor, R reconstructed here. What is marked R must not
be presented as the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ffprof.workload import Backward, Recipe
from workloads.batch_norm import unused_statistics
from workloads.blocks import Unit
from workloads.goodness import T_MAX, T_MIN, patch_energies
from workloads.network import ASGE, DTG_FF, GoodnessNetwork, Rules

State = Mapping[str, Tensor] | None


class Monolithic(GoodnessNetwork):
    """Forward all units, sum the losses, one backward; ``coupled`` lets path 3 train the units."""

    def __init__(
        self, recipe: Recipe, state: State, rules: Rules = DTG_FF, *, coupled: bool = False
    ) -> None:
        super().__init__(recipe, state, rules)
        self._coupled = coupled

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """See ``ffprof.workload.Trainable``; the loss is the sum over units and read-out."""
        x, parts, losses = images, [], []
        for unit, head, patches in self.layers():
            g, a = self.local(unit, patches, x)
            losses.append(F.cross_entropy(head(g), labels))
            parts.append(g if self._coupled else g.detach())
            if len(parts) < len(self.patches):
                with torch.set_grad_enabled(a.requires_grad):
                    x = unit.propagate(a)
        losses.append(F.cross_entropy(self.readout(parts), labels))
        total = torch.stack(losses).sum()
        backward(total)
        return total.detach()


class DeepSupervision(Monolithic):
    """The same network and losses with every detach removed: all losses end to end."""

    def __init__(self, recipe: Recipe, state: State, rules: Rules = DTG_FF) -> None:
        super().__init__(recipe, state, rules, coupled=True)

    def local(self, unit: Unit, patches: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> g and a, both in the graph of x."""
        a = unit.activate(x)
        return self.goodness(patch_energies(a, patches)), a


class Streamed(GoodnessNetwork):
    """Forward, local backward and release, unit by unit."""

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """See ``ffprof.workload.Trainable``; the loss is the sum over units and read-out."""
        parts, losses = self._units(images, labels, backward, {})
        loss = F.cross_entropy(self.readout(parts), labels)
        losses.append(loss.detach())
        backward(loss)
        return torch.stack(losses).sum()

    def _units(
        self, images: Tensor, labels: Tensor, backward: Backward, deltas: Mapping[int, Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Every unit's backward in turn; detached g_l and local losses.

        The next input is made before the backward, when a is still needed by the graph anyway:
        afterwards a would have to be kept through it. It comes from this step's weights.
        """
        x, parts, losses = images, [], []
        for index, (unit, head, patches) in enumerate(self.layers()):
            g, a = self.local(unit, patches, x)
            if index + 1 < len(self.patches):
                with torch.no_grad():
                    x = unit.propagate(a)
            del a
            loss = F.cross_entropy(head(g), labels)
            parts.append(g.detach())
            losses.append(loss.detach())
            if index in deltas:
                backward(loss, ((g, deltas[index]),))
            else:
                backward(loss)
            del g, loss
        return parts, losses


class TwoPass(Streamed):
    """The coupled variant, streamed: see the module's text."""

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """See ``ffprof.workload.Trainable``; the loss is the sum over units and read-out."""
        leaves = self._first_pass(images)
        loss = F.cross_entropy(self.readout(leaves), labels)
        backward(loss)
        deltas = {i: leaf.grad for i, leaf in enumerate(leaves) if leaf.grad is not None}
        with unused_statistics(self.backbone):
            _, losses = self._units(images, labels, backward, deltas)
        losses.append(loss.detach())
        return torch.stack(losses).sum()

    @torch.no_grad()
    def _first_pass(self, images: Tensor) -> list[Tensor]:
        """The g_l, as leaves that collect gradients."""
        x, leaves = images, []
        for unit, _, patches in self.layers():
            g, a = self.local(unit, patches, x)
            leaves.append(g.requires_grad_())
            if len(leaves) < len(self.patches):
                x = unit.propagate(a)
        return leaves


def tempered(t_min: float = T_MIN, t_max: float = T_MAX) -> Rules:
    """The rules with temperatures in another range."""
    return replace(DTG_FF, between=(t_min, t_max))


def build_monolithic(recipe: Recipe, backbone_state: State, **temperatures: float) -> Monolithic:
    """DTG-FF with one backward over all local losses."""
    return Monolithic(recipe, backbone_state, tempered(**temperatures))


def build_coupled(recipe: Recipe, backbone_state: State, **temperatures: float) -> Monolithic:
    """The coupled variant with one backward."""
    return Monolithic(recipe, backbone_state, tempered(**temperatures), coupled=True)


def build_streamed(recipe: Recipe, backbone_state: State, **temperatures: float) -> Streamed:
    """DTG-FF with one backward a unit."""
    return Streamed(recipe, backbone_state, tempered(**temperatures))


def build_two_pass(recipe: Recipe, backbone_state: State, **temperatures: float) -> TwoPass:
    """The coupled variant in two passes."""
    return TwoPass(recipe, backbone_state, tempered(**temperatures))


def build_deep_supervision(
    recipe: Recipe, backbone_state: State, **temperatures: float
) -> DeepSupervision:
    """Deep supervision of the same network, end to end."""
    return DeepSupervision(recipe, backbone_state, tempered(**temperatures))


def build_asge(recipe: Recipe, backbone_state: State, temperature: float = 1.0) -> Monolithic:
    """Like DTG-FF's predecessor, with one backward."""
    return Monolithic(recipe, backbone_state, replace(ASGE, fixed=temperature))


def build_asge_streamed(
    recipe: Recipe, backbone_state: State, temperature: float = 1.0
) -> Streamed:
    """The same with one backward a unit."""
    return Streamed(recipe, backbone_state, replace(ASGE, fixed=temperature))
