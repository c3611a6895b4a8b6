"""The units that backbones are made of: a convolution block, a stem, a residual block.

Every unit computes a = ReLU(b) from its input. Methods whose gradients cross units use
``activate``; local methods take b itself, because their goodness rectifies it
(``workloads.goodness``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from workloads.architecture import BlockShape
from workloads.precision import without_autocast

MakeNorm = Callable[[int], nn.Module]


def norm_maker(norm: str) -> MakeNorm:
    """N1 for so many channels: ``batch``, ``group`` (one group), or ``none`` for no norm."""
    if norm == "batch":
        return nn.BatchNorm2d
    if norm == "group":
        return lambda channels: nn.GroupNorm(1, channels)
    return lambda channels: nn.Identity()


class Unit(nn.Module):
    """What all units share: rectify, shrink, and the path-2 norm."""

    def preactivate(self, x: Tensor) -> Tensor:
        """(n, in_channels, ., .) -> b, (n, channels, s, s), which nobody else holds."""
        raise NotImplementedError

    def shrink(self, a: Tensor) -> Tensor:
        """Pool at the unit's end, if it has one."""
        return a

    def activate(self, x: Tensor) -> Tensor:
        """(n, in_channels, ., .) -> a = ReLU(b), (n, channels, s, s).

        The ReLU works in place: nothing before it keeps its output for the backward pass.
        """
        return F.relu(self.preactivate(x), inplace=True)

    def propagate(self, a: Tensor) -> Tensor:
        """Path 2 (norm A, affine dropped R): LayerNorm over channels at each position of shrink(a).

        (n, channels, s, s) -> (n, channels, s', s').
        """
        rows = self.shrink(a).permute(0, 2, 3, 1)
        with without_autocast(rows):
            return F.layer_norm(rows, rows.shape[-1:]).permute(0, 3, 1, 2)


class Block(Unit):
    """conv3x3 -> N1 -> ReLU [-> 2x2 max-pool] (R)."""

    def __init__(self, shape: BlockShape, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shape.in_channels, shape.channels, 3, padding=1, bias=False)
        self.norm = norm_maker(norm)(shape.channels)
        self.pool = shape.pool

    def preactivate(self, x: Tensor) -> Tensor:
        """See ``Unit``."""
        b: Tensor = self.norm(self.conv(x))
        return b

    def shrink(self, a: Tensor) -> Tensor:
        """See ``Unit``."""
        return F.max_pool2d(a, 2) if self.pool else a


class Stem(Unit):
    """torchvision's: conv7x7 of stride 2 -> N1 -> ReLU -> 3x3 max-pool of stride 2."""

    def __init__(self, shape: BlockShape, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shape.in_channels, shape.channels, 7, stride=2, padding=3, bias=False)
        self.norm = norm_maker(norm)(shape.channels)

    def preactivate(self, x: Tensor) -> Tensor:
        """See ``Unit``."""
        b: Tensor = self.norm(self.conv(x))
        return b

    def shrink(self, a: Tensor) -> Tensor:
        """See ``Unit``."""
        return F.max_pool2d(a, 3, 2, 1)


class Residual(Unit):
    """torchvision's basic block, without the ReLU at its end, which ``activate`` adds."""

    def __init__(self, shape: BlockShape, norm: str) -> None:
        from torchvision.models.resnet import BasicBlock  # other backbones need not wait for it

        super().__init__()
        make = norm_maker(norm)
        shortcut: nn.Module | None = None
        if shape.stride != 1 or shape.in_channels != shape.channels:
            shortcut = nn.Sequential(
                nn.Conv2d(shape.in_channels, shape.channels, 1, stride=shape.stride, bias=False),
                make(shape.channels),
            )
        self.block = BasicBlock(
            shape.in_channels, shape.channels, shape.stride, shortcut, norm_layer=make
        )

    def preactivate(self, x: Tensor) -> Tensor:
        """See ``Unit``."""
        block = self.block
        y = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
        y += x if block.downsample is None else block.downsample(x)
        b: Tensor = y
        return b


UNITS: dict[str, type[Block] | type[Stem] | type[Residual]] = {
    "conv": Block,
    "stem": Stem,
    "residual": Residual,
}
