"""Which sizes are requested: the border of what fits, and the recipes of a sweep; free of torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ffprof.errors import UsageError
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.step import StepDescription

# Of a step of the user's own also the name of an argument that its build takes.
Question = Literal["micro-batch", "batch", "depth"] | str
Axis = Literal["batch", "depth", "image-size"] | str
QUESTIONS = ("micro-batch", "batch", "depth")
AXES = ("batch", "depth", "image-size")
Sized = tuple[Description, Recipe]

CAP = 65_536  # images; more than any card of today trains on at once
MAX_VALUES = 20  # of a sweep
_MOST = 1_000_000  # images of a recipe's batch
# Blocks. A trace takes time in proportion to them: flat-256-64 2 to 7 s on one core, and several
# times that over micro-batches. What streams hardly grows, and would else be traced forever.
DEPTH_CAP = 256
FLAT_WIDTH = 64
_FLAT = re.compile(r"flat-(\d+)-(\d+)", re.ASCII)


# Of searches whose load is exact: see ``border``.
LINES = 6


def border(
    fits: Callable[[int], bool],
    *,
    start: int,
    cap: int,
    load: Callable[[int], float | None] = lambda n: None,
    lines: int = 2,
) -> int:
    """The largest of 1 to ``cap`` that fits, 0 if 1 does not; the next one does not fit.

    Memory grows nearly in proportion, so the border is looked for where the line through two sizes
    says, then from there in growing strides, and bisected. That takes about five questions where
    the line is right, and 2 log2(border) where nothing is known of it. Where what fits has holes,
    it is one of the borders.

    Args:
        fits: asked of a size.
        start: the first that is asked.
        cap: the largest that is asked.
        load: what a size that was asked takes of what there is, about 1 at the border; None
            where that is not known.
        lines: how often the line is asked, before strides and halves; more where ``load`` is
            exact.
    """
    low, high = 0, cap + 1
    seen: dict[int, float] = {}

    def ask(n: int) -> bool:
        nonlocal low, high
        well = fits(n)
        low, high = (max(low, n), high) if well else (low, min(high, n))
        known = load(n)
        if known:
            seen[n] = known
        return well

    at = min(max(start, 1), cap)
    well = ask(at)
    for _ in range(lines):
        guess = _on_the_line(seen)
        if guess is None or high - low <= 1:
            break
        well = ask(min(max(guess, low + 1), high - 1))
    stride = 1 if seen else max(at, 1)
    while high - low > 1:
        at = low + stride if well else high - stride
        if not low < at < high:
            at = (low + high) // 2
        was, well = well, ask(at)
        # Back from one side to the other: what is between is halved from here on.
        stride = 2 * stride if was == well else cap + 1
    return low


class RefusedSizeError(Exception):
    """A step does not take a size, whatever memory there is; ``size`` is which."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def accepted_border(
    fits: Callable[[int], bool],
    *,
    start: int,
    cap: int,
    load: Callable[[int], float | None],
    accepted: Callable[[], Sequence[int]],
) -> tuple[int, int]:
    """(the border, what all sizes are multiples of) of a step that may refuse some sizes.

    ``fits`` raises ``RefusedSizeError`` for them. Then multiples of the least that smaller sizes
    may differ by are asked, and what is refused of them, such as beyond a limit, does not fit.
    """

    def search(unit: int, ask: Callable[[int], bool]) -> int:
        return border(
            lambda n: ask(n * unit),
            start=max(1, start // unit),
            cap=max(1, cap // unit),
            load=lambda n: load(n * unit),
            lines=LINES,
        )

    def takes(size: int) -> bool:
        try:
            return fits(size)
        except RefusedSizeError:
            return False

    def takes_at_all(size: int) -> bool:
        try:
            fits(size)
        except RefusedSizeError:
            return False
        return True

    try:
        return search(1, fits), 1
    except RefusedSizeError:
        unit = math.gcd(*accepted()) if accepted() else 1
        known = min(accepted(), default=1)
        # One size is a multiple of more than is needed; below it no upper limit is in the way.
        for part in (2, 3, 5, 7):
            while unit % part == 0 and takes_at_all(known - unit // part):
                unit //= part
        return search(unit, takes), unit


def _on_the_line(seen: Mapping[int, float]) -> int | None:
    """Where the line through the two sizes that are closest to 1 is 1."""
    near = sorted(seen.items(), key=lambda one: abs(one[1] - 1))[:2]
    if not near:
        return None
    (n, share), *others = near
    if not others:
        return max(1, int(n / share))
    if others[0][1] == share:  # it does not grow
        return max(n, others[0][0]) if share > 1 else CAP
    other, its = others[0]
    return max(1, int(n + (1 - share) * (other - n) / (its - share)))


def sized(
    question: Question, description: Description, recipe: Recipe
) -> tuple[Callable[[int], Sized], int, int, int]:
    """(workload and recipe of the n-th size, what a size's step is, the n to start from, the last).

    A micro-batch grows with the batch, so that the number of micro-batches stays; a batch that is
    accumulated grows by whole micro-batches. Where nothing is accumulated both are the batch.

    Raises:
        UsageError: a depth is requested, and the backbone has none; or a step of the user's own
            does not take such a size.
    """
    if isinstance(description, StepDescription) and not _by_batch(question, description):
        question = question.replace("-", "_")
        description.with_size(question, 1)  # if it takes such a size
        start = dict(description.sizes)[question]
        return lambda n: (description.with_size(question, n), recipe), 1, start, CAP
    make, unit, start, cap = _recipes(question, description, recipe)
    return lambda n: (description, make(n)), unit, start, cap


def _by_batch(axis: str, description: StepDescription) -> bool:
    return description.takes_batch and axis in ("batch", "micro-batch")


def _recipes(
    question: Question, description: Description, recipe: Recipe
) -> tuple[Callable[[int], Recipe], int, int, int]:
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


def swept(axis: Axis, value: int, description: Description, recipe: Recipe) -> Sized:
    """The workload and the recipe at one value of a sweep.

    Under a batch, the micro-batch stays where it divides it, and else is what both share.

    Raises:
        UsageError: a step of the user's own does not take such a size.
    """
    if isinstance(description, StepDescription):
        if not _by_batch(axis, description):
            name = axis.replace("-", "_")
            if name == "image_size":
                recipe = resized(recipe, image_size=value)
            return description.with_size(name, value), recipe
        return description, resized(recipe, batch=value, micro_batch=value)
    if axis == "image-size":
        return description, resized(recipe, image_size=value)
    if axis == "depth":
        return description, resized(recipe, backbone=f"flat-{value}-{flat_width(recipe.backbone)}")
    micro = math.gcd(value, recipe.micro_batch) if description.accumulates else value
    return description, resized(recipe, batch=value, micro_batch=micro)


def check_size(option: str, axis: str, one: Description, recipe: Recipe) -> None:
    """Refuse a size that a workload does not have.

    Raises:
        UsageError: it has not.
    """
    if isinstance(one, StepDescription):
        try:
            swept(axis, 1, one, recipe)
        except UsageError as error:
            raise UsageError(f"{option} {axis}: {error.problem}", error.fix) from error
    elif axis not in (QUESTIONS if option == "--largest" else AXES):
        raise UsageError(
            f"{option} {axis}: {one.id} has no such size",
            f"name one of {', '.join(QUESTIONS if option == '--largest' else AXES)}",
        )


def varied_by(question: Question, recipe: Recipe) -> dict[str, str]:
    """Which fields of the recipe are not the same at all sizes, and what stands for them."""
    if question == "depth":
        return {"backbone": f"flat-N-{flat_width(recipe.backbone)}"}
    if question not in QUESTIONS:
        return {}
    return dict.fromkeys(("batch", "micro_batch") if question == "micro-batch" else ("batch",), "N")


def swept_values(text: str, listed: str, fix: str) -> tuple[int, ...]:
    """The values of a sweep, ascending, from those that are ``listed`` in its ``text``.

    Raises:
        UsageError: they are none, or too many; ``fix`` says how to write them.
    """
    words = [word.strip() for word in listed.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) <= 6 for word in words):
        raise UsageError(f"--sweep {text!r} has values that are not whole numbers", fix)
    values = tuple(sorted({int(word) for word in words}))
    if values[0] < 1 or values[-1] > CAP:
        raise UsageError(f"--sweep {text!r}: values are 1 to {CAP:,}", fix)
    if not 2 <= len(values) <= MAX_VALUES:
        raise UsageError(
            f"--sweep {text!r} has {len(values)} values", f"give 2 to {MAX_VALUES} that differ"
        )
    return values


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
