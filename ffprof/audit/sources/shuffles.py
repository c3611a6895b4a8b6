"""The order of images: every epoch sees each once, in an order drawn from the seed."""

from __future__ import annotations

import torch
from torch import Tensor


class Shuffles:
    """Endless positions over ``total`` images.

    The last images of an epoch are followed by the first of the next.
    """

    def __init__(self, total: int, seed: int) -> None:
        self.total = total
        self._seed = seed
        self._orders: dict[int, Tensor] = {}

    def chosen(self, start: int, count: int) -> Tensor:
        """Indices of the images at ``count`` positions from ``start`` on, (count,) int64."""
        position, end, parts = start, start + count, []
        while position < end:
            epoch, offset = divmod(position, self.total)
            parts.append(self._order(epoch)[offset : offset + end - position])
            position += len(parts[-1])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def held(self) -> list[Tensor]:
        """The tensors that are kept."""
        return list(self._orders.values())

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
            self._orders = {
                **{k: v for k, v in self._orders.items() if k >= epoch - 1},
                epoch: torch.randperm(self.total, generator=generator),
            }
        return self._orders[epoch]
