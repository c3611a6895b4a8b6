"""Backbones by name, torch-free: which units, how wide, where they pool.

All choices here are reconstructions (R): the paper's backbone and depth are not public.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ffprof.workload import Recipe

# P marks a 2x2 max-pool at the end of the block before it (R).
_STACKS = {
    "vgg8": "64 P 128 P 256 256 P 512 512 P",
    "vgg11": "64 P 128 P 256 256 P 512 512 P 512 512 P",
    "vgg16": "64 64 P 128 128 P 256 256 256 P 512 512 512 P 512 512 512 P",
}
_FLAT = re.compile(r"flat-([1-9]\d{0,2})-([1-9]\d{0,3})", re.ASCII)
# torchvision's basic-block networks: residual blocks in each of the four stages.
_RESNETS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
_STAGE_CHANNELS = (64, 128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """One unit: its channels, its side length before pooling, whether it pools, and its kind."""

    in_channels: int
    channels: int
    size: int
    pool: bool
    kind: str = "conv"  # or "stem", "residual"
    stride: int = 1


def known_backbones() -> str:
    """The names that ``block_shapes`` understands, for messages."""
    return ", ".join([*_STACKS, *_RESNETS, "flat-D-W (D blocks of W channels)"])


def block_shapes(recipe: Recipe) -> list[BlockShape]:
    """The units of the recipe's backbone, scaled by its width.

    Raises:
        ValueError: unknown backbone, or an image too small for its pools; the message says
            what to do.
    """
    if recipe.backbone in _RESNETS:
        return _residual_shapes(recipe)
    layout = _layout(recipe.backbone)
    pools = sum(pool for _, pool in layout)
    if recipe.image_size % 2**pools:
        raise ValueError(
            f"{recipe.backbone} halves the image {pools} times, so its size must be a multiple "
            f"of {2**pools}, not {recipe.image_size}"
        )
    shapes: list[BlockShape] = []
    channels, size = recipe.channels, recipe.image_size
    for base, pool in layout:
        wide = _scaled(base, recipe)
        shapes.append(BlockShape(in_channels=channels, channels=wide, size=size, pool=pool))
        channels, size = wide, size // 2 if pool else size
    return shapes


def _residual_shapes(recipe: Recipe) -> list[BlockShape]:
    """The stem is unit 1 (7x7, stride 2, then a 3x3 max-pool), every residual block one more."""
    if recipe.image_size < 8:
        raise ValueError(f"{recipe.backbone} needs images of at least 8 pixels a side")
    size, channels = _halved(recipe.image_size), _scaled(_STAGE_CHANNELS[0], recipe)
    stem = BlockShape(
        in_channels=recipe.channels, channels=channels, size=size, pool=True, kind="stem", stride=2
    )
    shapes, size = [stem], _halved(size)
    stages = zip(_STAGE_CHANNELS, _RESNETS[recipe.backbone], strict=True)
    for stage, (base, blocks) in enumerate(stages):
        wide = _scaled(base, recipe)
        for number in range(blocks):
            stride = 2 if stage and not number else 1
            size = _halved(size) if stride == 2 else size
            shapes.append(
                BlockShape(
                    in_channels=channels, channels=wide, size=size, pool=False, kind="residual",
                    stride=stride,
                )
            )  # fmt: skip
            channels = wide
    return shapes


def _halved(size: int) -> int:
    """What a padded convolution or pool of stride 2 leaves."""
    return (size + 1) // 2


def _scaled(base: int, recipe: Recipe) -> int:
    return max(1, round(base * recipe.width))


def patch_counts(shapes: list[BlockShape]) -> list[int]:
    """Patches along each side, P_l = 2 * 2^floor(log2 sqrt(C_L / C_l)), which must divide it (R).

    Where it does not, the largest power of two below it that does. Chosen on validation images
    (docs/learning.md).
    """
    last = shapes[-1].channels
    wanted = [2 ** (1 + math.floor(math.log2(math.sqrt(last / s.channels)))) for s in shapes]
    return [math.gcd(shape.size, max(1, w)) for shape, w in zip(shapes, wanted, strict=True)]


def _layout(name: str) -> list[tuple[int, bool]]:
    flat = _FLAT.fullmatch(name)
    if flat:
        return [(int(flat[2]), False)] * int(flat[1])
    if name not in _STACKS:
        raise ValueError(f"unknown backbone {name!r}: known are {known_backbones()}")
    layout: list[tuple[int, bool]] = []
    for word in _STACKS[name].split():
        if word == "P":
            layout[-1] = (layout[-1][0], True)
        else:
            layout.append((int(word), False))
    return layout


def check_backbone(recipe: Recipe) -> str | None:
    """Why the recipe's backbone cannot be built, or None."""
    try:
        shapes = block_shapes(recipe)
    except ValueError as error:
        return str(error)
    # Batch statistics of one image need more than one position.
    if recipe.norm == "batch" and recipe.micro_batch < 2 and min(s.size for s in shapes) < 2:
        return "batch statistics over one value: use --norm group or larger micro-batches"
    return None


def check_local(recipe: Recipe) -> str | None:
    """``check_backbone``, and what the read-out's batch statistics need besides."""
    objection = check_backbone(recipe)
    if objection:
        return objection
    if recipe.norm == "batch" and recipe.micro_batch < 2:
        return "batch statistics need micro-batches of at least 2 images: use --norm group"
    return None
