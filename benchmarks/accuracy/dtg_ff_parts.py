"""What each part of dtg-ff is worth: variants that leave out or change one part.

    ffprof learn --workload-file benchmarks/accuracy/dtg_ff_parts.py --data fashion-mnist \
        --samples 12000 --epochs 5 --seeds 3 --threads 1 --out results/learning

docs/learning.md has the table, and the variants of before decision 136, when the shipped method
had half as many patches a side. It compares validation accuracies: parts are chosen by it, so the
test images must not be used for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ffprof import register_workload
from ffprof.workload import Recipe
from workloads.backbones import initial_state
from workloads.dtg_ff import Monolithic
from workloads.network import DTG_FF, GoodnessNetwork, ReadOut, Rules

State = Mapping[str, Tensor] | None
Change = Callable[[GoodnessNetwork, Recipe], None]


def _part(id: str, summary: str, rules: Rules = DTG_FF, change: Change | None = None) -> None:
    """Register dtg-ff with other rules or with something changed after it was made."""

    def build(recipe: Recipe, state: State) -> Monolithic:
        module = Monolithic(recipe, state, rules)
        if change is not None:
            change(module, recipe)
        return module

    shares = "whole" if rules.normalised else "part"
    register_workload(
        id=id,
        summary=summary,
        load_backbone=initial_state,
        shares=shares,
        rules=("read", "last", "mean"),
    )(build)


def _patches(times: float) -> Change:
    """So many times as many patches a side, as far as images and 1 allow it."""

    def change(module: GoodnessNetwork, recipe: Recipe) -> None:
        shapes = module.backbone.shapes
        module.patches = [
            max(1, min(int(p * times), s.size)) for p, s in zip(module.patches, shapes, strict=True)
        ]
        widths = [s.channels * p * p for s, p in zip(shapes, module.patches, strict=True)]
        for head, width in zip(module.heads, widths, strict=True):
            head.projection = torch.randn(width, recipe.classes) / width**0.5
        module.readout = ReadOut(widths, recipe.classes, recipe.norm)

    return change


def _trained_projections(module: GoodnessNetwork, recipe: Recipe) -> None:
    for head in module.heads:
        projection = head.projection
        del head.projection
        head.projection = nn.Parameter(projection)


def _without_path_2(module: GoodnessNetwork, recipe: Recipe) -> None:
    for unit in module.backbone:
        unit.propagate = unit.shrink


def _plain_read_out(module: GoodnessNetwork, recipe: Recipe) -> None:
    module.readout.norm = nn.Identity()


_part("as-it-is", "dtg-ff")
_part("no-n1", "without N1", replace(DTG_FF, normalised=False))
_part("no-standardising", "goodness is the energies", replace(DTG_FF, standardised=False))
_part("t-is-1", "no temperature", replace(DTG_FF, tempered=False))
_part("t-is-0.3", "a temperature of 0.3, not learned", replace(DTG_FF, tempered=False, fixed=0.3))
_part("no-path-2", "no norm between blocks", change=_without_path_2)
_part("one-patch", "one patch in every block", change=_patches(0))
_part("patches-half", "half as many patches a side", change=_patches(0.5))
_part("patches-x2", "twice as many patches a side", change=_patches(2))
_part("trained-projection", "the heads' projections are trained", change=_trained_projections)
_part("plain-read-out", "no norm before the read-out", change=_plain_read_out)
