"""Which sizes are requested: the border of what fits, and the recipes of a sweep; free of torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ffprof.errors import UsageError
from ffprof.records.recipe import Recipe
from ffprof.workload import Description

Question = Literal["micro-batch", "batch", "depth"]
Axis = Literal["batch", "depth", "image-size"]

CAP = 65_536  # images; more than any card of today trains on at once
_MOST = 1_000_000  # images of a recipe's batch
# Blocks. A trace takes time in proportion to them: flat-256-64 2 to 7 s on one core, and several
# times that over micro-batches. What streams hardly grows, and would else be traced forever.
DEPTH_CAP = 256
FLAT_WIDTH = 64
_FLAT = re.compile(r"flat-(\d+)-(\d+)", re.ASCII)


def border(fits: Callable[[int], bool], *, start: int, cap: int) -> int:
    """The largest of 1 to ``cap`` that fits, 0 if 1 does not; the next one does not fit.

    The border is bracketed by doubling or halving from ``start``, then bisected: about
    2 log2(border) questions at most. Where what fits has holes, it is one of the borders.
    """
    low, high, at = 0, cap + 1, min(max(start, 1), cap)
    if fits(at):
        low = at
        while low < cap:
            at = min(2 * low, cap)
            if not fits(at):
                high = at
                break
            low = at
    else:
        high = at
        while high > 1:
            at = high // 2
            if fits(at):
                low = at
                break
            high = at
    while high - low > 1:
        at = (low + high) // 2
        if fits(at):
            low = at
        else:
            high = at
    return low


def sized(
    question: Question, description: Description, recipe: Recipe
) -> tuple[Callable[[int], Recipe], int, int, int]:
    """(recipe of the n-th size, images or blocks of a size's step, the n to start from, the last).

    A micro-batch grows with the batch, so that the number of micro-batches stays; a batch that is
    accumulated grows by whole micro-batches. Where nothing is accumulated both are the batch.

    Raises:
        UsageError: a depth is requested, and the backbone has none.
    """
    if question == "depth":
        depth, width = flat_shape(recipe.backbone)
        return (
            lambda n: resized(recipe, backbone=f"flat-{n}-{width}"),
            1,
            min(depth, DEPTH_CAP),
            DEPTH_CAP,
        )
    if not description.accumulates:
        return _whole(recipe), 1, recipe.batch, CAP
    if question == "micro-batch":
        count = recipe.updates_per_batch
        return (
            lambda n: resized(recipe, batch=n * count, micro_batch=n),
            1,
            recipe.micro_batch,
            min(CAP, _MOST // count),
        )
    micro = recipe.micro_batch
    return (
        lambda n: resized(recipe, batch=n * micro),
        micro,
        recipe.updates_per_batch,
        max(1, CAP // micro),
    )


def _whole(recipe: Recipe) -> Callable[[int], Recipe]:
    return lambda n: resized(recipe, batch=n, micro_batch=n)


def swept(axis: Axis, value: int, description: Description, recipe: Recipe) -> Recipe:
    """The recipe at one value of a sweep.

    Under a batch, the micro-batch stays where it divides it, and else is what both share.
    """
    if axis == "image-size":
        return resized(recipe, image_size=value)
    if axis == "depth":
        return resized(recipe, backbone=f"flat-{value}-{flat_width(recipe.backbone)}")
    micro = math.gcd(value, recipe.micro_batch) if description.accumulates else value
    return resized(recipe, batch=value, micro_batch=micro)


def varied_by(question: Question, recipe: Recipe) -> dict[str, str]:
    """Which fields of the recipe are not the same at all sizes, and what stands for them."""
    if question == "depth":
        return {"backbone": f"flat-N-{flat_width(recipe.backbone)}"}
    return dict.fromkeys(("batch", "micro_batch") if question == "micro-batch" else ("batch",), "N")


def flat_width(backbone: str) -> int:
    """Channels of a flat backbone; 64 for one that is not flat."""
    match = _FLAT.fullmatch(backbone)
    return int(match[2]) if match else FLAT_WIDTH


def flat_shape(backbone: str) -> tuple[int, int]:
    """(blocks, channels) of a flat backbone.

    Raises:
        UsageError: it is not flat, so it has no depth that could grow.
    """
    match = _FLAT.fullmatch(backbone)
    if match is None:
        raise UsageError(
            f"the backbone {backbone} has no depth that could grow",
            f"name a flat one: --backbone flat-8-{FLAT_WIDTH} (8 blocks of {FLAT_WIDTH} channels)",
        )
    return int(match[1]), int(match[2])


def resized(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with other sizes.

    Raises:
        ValueError: it is none.
    """
    return Recipe.model_validate({**recipe.model_dump(), **changes})


def exponent(values: Sequence[int], sizes: Sequence[int | None]) -> float | None:
    """The slope of log(size) over log(value), by least squares; None if there is none."""
    points = [(math.log(v), math.log(s)) for v, s in zip(values, sizes, strict=True) if s]
    if len(points) < 2 or len({x for x, _ in points}) < 2:
        return None
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
