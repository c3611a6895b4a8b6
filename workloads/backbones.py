"""The blocks that every method stands on, and the one state that all of them start from.

Block (R): conv3x3 (no bias, Kaiming) -> N1 -> ReLU [-> 2x2 max-pool at the block's end].
N1 is BatchNorm2d, or GroupNorm(1, C) under ``norm = group``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ffprof.workload import Recipe
from workloads.architecture import BlockShape, block_shapes


class Block(nn.Module):
    """conv3x3 -> N1 -> ReLU, then on request pool and the path-2 norm."""

    def __init__(self, shape: BlockShape, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shape.in_channels, shape.channels, 3, padding=1, bias=False)
        self.norm: nn.Module = (
            nn.BatchNorm2d(shape.channels) if norm == "batch" else nn.GroupNorm(1, shape.channels)
        )
        self.pool = shape.pool

    def activate(self, x: Tensor) -> Tensor:
        """(n, in_channels, s, s) -> a = ReLU(N1(conv(x))), (n, channels, s, s).

        The ReLU works in place: neither norm keeps its output for the backward pass.
        """
        return F.relu(self.norm(self.conv(x)), inplace=True)

    def propagate(self, a: Tensor) -> Tensor:
        """Path 2 (norm A, affine dropped R): LayerNorm over channels at each position, of pool(a).

        (n, channels, s, s) -> (n, channels, s / 2 or s, s / 2 or s).
        """
        if self.pool:
            a = F.max_pool2d(a, 2)
        rows = a.permute(0, 2, 3, 1)
        return F.layer_norm(rows, rows.shape[-1:]).permute(0, 3, 1, 2)


class Backbone(nn.Module):
    """The blocks of a recipe, loaded with the audit's shared state."""

    def __init__(self, recipe: Recipe, state: Mapping[str, Tensor] | None) -> None:
        super().__init__()
        self.shapes = block_shapes(recipe)
        self.blocks = nn.ModuleList(Block(shape, recipe.norm) for shape in self.shapes)
        if state is not None:
            self.load_state_dict(dict(state))

    def __iter__(self):  # type: ignore[no-untyped-def]  # nn.ModuleList forgets its type
        return iter(self.blocks)


def initial_state(recipe: Recipe) -> dict[str, Tensor]:
    """The backbone's weights and buffers drawn from the recipe's seed, float32 on the host.

    Convolutions are Kaiming normal (fan-in, ReLU; the paper's choice is unknown, R); norms
    start at 1 and 0.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    backbone = Backbone(recipe, None)
    for block in backbone:
        nn.init.kaiming_normal_(block.conv.weight, nonlinearity="relu", generator=generator)
    return {name: value.detach().clone() for name, value in backbone.state_dict().items()}
