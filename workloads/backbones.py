"""The stack of units that every method stands on, and the one state that all of them start from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ffprof.workload import Recipe
from workloads.architecture import block_shapes
from workloads.blocks import UNITS, Unit


class Backbone(nn.Module):
    """The units of a recipe, loaded with the audit's shared state.

    Args:
        recipe: which units.
        state: what to load; None leaves the weights as PyTorch draws them.
        normalised: without N1, the state's norms are left out.
    """

    def __init__(
        self, recipe: Recipe, state: Mapping[str, Tensor] | None, *, normalised: bool = True
    ) -> None:
        super().__init__()
        self.shapes = block_shapes(recipe)
        norm = recipe.norm if normalised else "none"
        self.blocks = nn.ModuleList(UNITS[shape.kind](shape, norm) for shape in self.shapes)
        if state is not None:
            own = self.state_dict().keys()
            self.load_state_dict({n: v for n, v in state.items() if normalised or n in own})

    def __iter__(self) -> Iterator[Unit]:
        return iter(self.blocks)  # type: ignore[arg-type]  # nn.ModuleList forgets its type

    def __len__(self) -> int:
        return len(self.blocks)


def initial_state(recipe: Recipe) -> dict[str, Tensor]:
    """The backbone's weights and buffers drawn from the recipe's seed, float32 on the host.

    Convolutions are Kaiming normal (fan-in, ReLU; the paper's choice is unknown, R); norms
    start at 1 and 0.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    backbone = Backbone(recipe, None)
    for part in backbone.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
    return {name: value.detach().clone() for name, value in backbone.state_dict().items()}
