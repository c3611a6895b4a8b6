"""Path 1 of DTG-FF: patch energies, their standardisation, and the temperature.

Energies (A; RMS is R): e[c, i, j] = sqrt(mean over patch (i, j) of a[c]^2 + 1e-8).
Goodness (R): g = LayerNorm without affine over the D = C P^2 energies of a sample.
Temperature (form S, range A): T = T_min + (T_max - T_min) * sigmoid(alpha), alpha = 0 at start.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-8  # inside the root (A)
T_MIN, T_MAX = 0.1, 2.0  # the range (A)


class _PatchEnergies(torch.autograd.Function):
    """sqrt(mean of squares + eps) that keeps only ``a`` and the energies for backward.

    Written out, autograd keeps nothing more either, but its backward makes two temporaries as
    large as ``a`` where one product does: de/da = a / (e * positions).
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, patches: int) -> Tensor:
        n, c, h, w = a.shape
        grid = (n, c, patches, h // patches, patches, w // patches)
        wide = torch.promote_types(a.dtype, torch.float32)
        energies = a.square().view(grid).mean((3, 5), dtype=wide).add_(EPSILON).sqrt_()
        ctx.save_for_backward(a, energies)
        ctx.grid = grid
        return energies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        a, energies = ctx.saved_tensors
        grid = ctx.grid
        scale = grads[0] / (energies * (grid[3] * grid[5]))
        scaled = a.view(grid) * scale[:, :, :, None, :, None].to(a.dtype)
        return scaled.view(a.shape), None


def patch_energies(a: Tensor, patches: int) -> Tensor:
    """(n, c, h, w) -> energies (n, c, patches, patches), at least float32.

    ``patches`` must divide h and w.
    """
    energies: Tensor = _PatchEnergies.apply(a, patches)
    return energies


def goodness(a: Tensor, patches: int) -> Tensor:
    """(n, c, h, w) -> standardised energies g, (n, c * patches^2)."""
    energies = patch_energies(a, patches).flatten(1)
    return F.layer_norm(energies, energies.shape[1:])


class LocalHead(nn.Module):
    """z = g R / T: a fixed projection and a learned temperature.

    R is a buffer ~ N(0, 1/D), never trained (fixed: S; scale: R). T is trained by the local loss
    alone and is not decayed (R).
    """

    projection: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("projection", torch.randn(features, classes) / features**0.5)
        self.alpha = nn.Parameter(torch.zeros(()))

    def temperature(self) -> Tensor:
        """T, a scalar in [T_MIN, T_MAX]."""
        return T_MIN + (T_MAX - T_MIN) * self.alpha.sigmoid()

    def forward(self, g: Tensor) -> Tensor:
        """(n, features) -> logits (n, classes)."""
        return (g @ self.projection) / self.temperature()
