"""What a network scores on held-out images, by every prediction rule of its method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from ffprof.harness.learning.augmentation import Preparation
from ffprof.harness.learning.images import Images
from ffprof.harness.step import AUTOCAST
from ffprof.records.learning import Score
from ffprof.records.recipe import Recipe
from ffprof.workload import Trainable


def predictions(module: Trainable, images: Tensor, rules: Sequence[str]) -> Mapping[str, Tensor]:
    """Logits (n, classes) of every rule, the method's first rule first.

    A module with ``predictions(images)`` gives all of them in one pass; others are asked rule by
    rule.
    """
    every = getattr(module, "predictions", None)
    if every is not None:
        found: Mapping[str, Tensor] = every(images)
        return found
    return {rule: module.predict(images, rule) for rule in rules}


@torch.no_grad()
def score(
    module: Trainable,
    held_out: Images,
    prepare: Preparation,
    rules: Sequence[str],
    recipe: Recipe,
    device: torch.device,
    groups: Tensor | None = None,
) -> Score:
    """Accuracy and mean cross-entropy; the module is in training mode afterwards.

    Args:
        module: on the device.
        held_out: on the host, as stored.
        prepare: makes the network's input of them.
        rules: of the description.
        recipe: precision, and the batch, which is never exceeded.
        device: where it is computed.
        groups: (classes,) the group of each class, to grade predictions on, too.
    """
    right: dict[str, Tensor] = {}
    coarse: dict[str, Tensor] = {}
    losses: dict[str, Tensor] = {}
    kind = AUTOCAST.get(recipe.precision)
    autocast = nullcontext() if kind is None else torch.autocast(device.type, kind)
    grouped = None if groups is None else groups.to(device)
    prepare.draws = None
    module.train(False)
    for images, labels in held_out.batches(recipe.batch, device.type):
        labels = labels.to(device)
        with autocast:
            found = predictions(module, prepare(images.to(device)), rules)
        for rule, logits in found.items():
            chosen = logits.argmax(1)
            _add(right, rule, (chosen == labels).sum())
            _add(losses, rule, F.cross_entropy(logits.double(), labels, reduction="sum"))
            if grouped is not None:
                _add(coarse, rule, (grouped[chosen] == grouped[labels]).sum())
    module.train(True)
    count = len(held_out)
    return Score(
        images=count,
        accuracy={rule: int(one) / count for rule, one in right.items()},
        loss={rule: _finite(float(one) / count) for rule, one in losses.items()},
        coarse_accuracy={rule: int(one) / count for rule, one in coarse.items()},
    )


def _add(sums: dict[str, Tensor], rule: str, value: Tensor) -> None:
    sums[rule] = value if rule not in sums else sums[rule] + value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
