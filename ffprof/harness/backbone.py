"""Every workload starts from the same backbone: drawn once, handed over, and checked.

The state is drawn from the recipe's seed and given to ``build``. Afterwards the module is asked
for its backbone again: what comes back must be the same numbers under the same names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ffprof.errors import RefusedError
from ffprof.records.audit import SHARED
from ffprof.records.recipe import Recipe
from ffprof.workload import Description, Trainable


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What the backbone shares with other rows, in words, and its fingerprint."""

    backbone: str
    digest: str
    parameter_names: frozenset[str]


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of a state, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _copy(state: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    return None if state is None else {name: value.clone() for name, value in state.items()}


def build_matched(description: Description, recipe: Recipe) -> tuple[Trainable, Matched]:
    """Build a workload on the shared backbone state, on the host, and check that it took it.

    Raises:
        RefusedError: the module's backbone differs from the state it was given.
    """
    source = description.load_backbone() if description.load_backbone else None
    state = source(recipe) if source else None
    expected = state_digest(state) if state is not None else ""
    build = description.load()
    torch.manual_seed(recipe.seed)
    # Copies: what is handed over can be kept or changed, the harness's own cannot.
    settings = {one.name: one.default for one in description.settings}
    module = build(recipe.model_copy(deep=True), _copy(state), **settings)
    own = module.backbone_state()
    digest = state_digest(own)
    backbone = "own: unmatched" if state is None else SHARED
    if state is not None and description.shares == "part":
        present = {name: state[name] for name in own if name in state}
        backbone = f"shared in part: {len(present)} of {len(state)} tensors"
        expected = state_digest(present) if present else ""
    if state is not None and digest != expected:
        raise RefusedError(
            "its backbone does not start from the shared weights",
            "load backbone_state in build, or declare load_backbone=None",
        )
    held = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    if any(value.untyped_storage()._cdata not in held for value in own.values()):
        raise RefusedError(
            "what it shows as its backbone is not part of the module",
            "return the module's own parameters and buffers from backbone_state",
        )
    named = {id(p): name for name, p in module.named_parameters()}
    storages = {value.untyped_storage()._cdata for value in own.values()}
    names = frozenset(
        named[id(p)] for p in module.parameters() if p.untyped_storage()._cdata in storages
    )
    return module, Matched(backbone=backbone, digest=digest, parameter_names=names)
