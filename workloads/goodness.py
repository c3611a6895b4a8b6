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

from workloads.precision import without_autocast

EPSILON = 1e-8  # inside the root (A)
T_MIN, T_MAX = 0.1, 2.0  # the range (A)
_HOST = torch.device("cpu")
_PIECE_BYTES = 2 << 20  # squares on a CPU are made in pieces of about so many bytes ...
_MOST_PIECES = 8  # ... but at most so many, because small pieces are slow


def _energies(a: Tensor, patches: int) -> Tensor:
    """(n, c, h, w) -> (n, c, patches, patches), at least float32, without a full-size square.

    On a GPU the norm is one kernel. On a CPU that kernel is not vectorised (four times slower
    than squaring first), so squares are made a few samples at a time.
    """
    n, c, h, w = a.shape
    grid = (c, patches, h // patches, patches, w // patches)
    wide = torch.promote_types(a.dtype, torch.float32)
    if a.device != _HOST:  # also on what stands in for a GPU while memory is estimated
        norms: Tensor = torch.linalg.vector_norm(a.view(n, *grid), dim=(3, 5), dtype=wide)
        return norms.square_().div_(grid[2] * grid[4]).add_(EPSILON).sqrt_()
    pieces = max(1, min(_MOST_PIECES, -(-a.nbytes // _PIECE_BYTES)))
    means = [
        part.square().view(len(part), *grid).mean((3, 5), dtype=wide) for part in a.chunk(pieces)
    ]
    return (torch.cat(means) if len(means) > 1 else means[0]).add_(EPSILON).sqrt_()


def _gradient(a: Tensor, energies: Tensor, grad: Tensor) -> Tensor:
    """The gradient that reaches a: de/da = a / (e * positions), in one full-size product.

    The scale is spread out along rows first, in the layout of a: the product then runs over whole
    rows, which on a CPU is two to four times as fast as patch by patch. It stays float32 where a
    is narrower: in a dead patch it may be beyond float16, while the product is 0.
    """
    n, c, h, w = a.shape
    patches = energies.shape[-1]
    scale = grad / (energies * (h * w // patches**2))
    if patches == 1:
        return _product(a, scale)
    if a.is_contiguous():
        rows = scale.repeat_interleave(w // patches, 3)
    else:
        rows = scale.permute(0, 2, 3, 1).repeat_interleave(w // patches, 2).permute(0, 3, 1, 2)
    return _product(a.view(n, c, patches, h // patches, w), rows[:, :, :, None]).view(a.shape)


def _product(a: Tensor, scale: Tensor) -> Tensor:
    """a * scale in the type of a, multiplied in the wider one."""
    if a.dtype == scale.dtype:
        return a * scale
    return torch.mul(a, scale, out=torch.empty_like(a))


class _PatchEnergies(torch.autograd.Function):
    """Keeps only a and the energies for backward; plain autograd makes two temporaries there."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, patches: int) -> Tensor:
        with without_autocast(a):
            energies = _energies(a, patches)
        ctx.save_for_backward(a, energies)
        return energies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        a, energies = ctx.saved_tensors
        return _gradient(a, energies, grads[0]), None


class _RectifiedEnergies(torch.autograd.Function):
    """``_PatchEnergies`` of ReLU(b), rectified in place.

    The gradient a * scale vanishes where a does, so it is that of b already: no mask is applied
    and no second full-size gradient made. b is not marked as changed, because it is not handed
    on in the graph; should whoever made it have kept it, autograd's version check fails.
    """

    @staticmethod
    def forward(ctx: Any, b: Tensor, patches: int) -> Tensor:
        with without_autocast(b):
            energies = _energies(b.relu_(), patches)
        ctx.save_for_backward(b, energies)
        return energies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        a, energies = ctx.saved_tensors
        return _gradient(a, energies, grads[0]), None


def patch_energies(a: Tensor, patches: int) -> Tensor:
    """(n, c, h, w) -> energies (n, c, patches, patches), at least float32.

    ``patches`` must divide h and w.
    """
    energies: Tensor = _PatchEnergies.apply(a, patches)
    return energies


def rectified_energies(b: Tensor, patches: int) -> Tensor:
    """``patch_energies`` of ReLU(b); afterwards b holds ReLU(b), for use outside of the graph."""
    energies: Tensor = _RectifiedEnergies.apply(b, patches)
    return energies


def standardised(energies: Tensor) -> Tensor:
    """Energies (n, ...) -> g (n, D), mean 0 and variance 1 in each sample."""
    flat = energies.flatten(1)
    return F.layer_norm(flat, flat.shape[1:])


class LocalHead(nn.Module):
    """z = g R / T: a fixed projection and, if ``tempered``, a learned temperature; else T = 1.

    R is a buffer ~ N(0, 1/D), never trained (fixed: S; scale: R). T is trained by the local loss
    alone and is not decayed (R). An untempered head's T, ``fixed``, is in R.
    """

    projection: Tensor

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        tempered: bool = True,
        between: tuple[float, float] = (T_MIN, T_MAX),
        fixed: float = 1.0,
    ) -> None:
        super().__init__()
        scale = features**0.5 if tempered else features**0.5 * fixed
        self.register_buffer("projection", torch.randn(features, classes) / scale)
        self._lowest, self._highest = between
        self.alpha = nn.Parameter(torch.zeros(())) if tempered else None

    def temperature(self) -> Tensor | float:
        """T, a scalar between the lowest and the highest, or 1."""
        if self.alpha is None:
            return 1.0
        return self._lowest + (self._highest - self._lowest) * self.alpha.sigmoid()

    def forward(self, g: Tensor) -> Tensor:
        """(n, features) -> logits (n, classes)."""
        z = g @ self.projection
        return z if self.alpha is None else z / self.temperature()
