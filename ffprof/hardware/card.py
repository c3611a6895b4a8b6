"""A GPU model as its profile describes it: memory, peaks and links, each with its source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Confidence = Literal["high", "medium", "low"]

# Bytes per second of one lane and direction, after 128b/130b encoding of 8, 16 and 32 GT/s
# (PCI Express Base Specifications 3.0, 4.0 and 5.0).
PCIE_LANE_BYTES_PER_SECOND = {
    generation: transfers * 1e9 * 128 / 130 / 8
    for generation, transfers in ((3, 8), (4, 16), (5, 32))
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU model: what it is sold as, what CUDA offers on it, and how fast it could be.

    Rates are peaks: FLOP/s with a multiply-add counted as two, dense, tensor products with fp32
    accumulation; None where the card has no such units. ``cuda_total_bytes`` is what
    cudaMemGetInfo calls the total, ``nvml_total_bytes`` what NVML and nvidia-smi do. A card whose
    ``class_objection`` is not empty is left out when a size such as 8GB is asked for. ``sources``
    has one entry for every figure, under its name in the profile. ``origin`` is the user's file
    that it was read from; empty for the profiles that ffprof has.
    """

    name: str
    sold_as_bytes: int
    nvml_total_bytes: int
    cuda_total_bytes: int
    nvml_confidence: Confidence
    cuda_confidence: Confidence
    architecture: str
    chip: str
    year: int
    compute_capability: tuple[int, int]
    sm_count: int
    memory_type: str
    bandwidth_bytes_per_second: float
    fp32_flops: float
    tf32_flops: float | None
    fp16_tensor_flops: float | None
    bf16_tensor_flops: float | None
    tdp_watts: int
    pcie_generation: int
    pcie_lanes: int
    class_objection: str
    sources: Mapping[str, str]
    origin: str = ""

    @property
    def pcie_bytes_per_second(self) -> float:
        """Peak of its link, one direction."""
        return PCIE_LANE_BYTES_PER_SECOND[self.pcie_generation] * self.pcie_lanes

    @property
    def sm_cycles_per_second(self) -> float:
        """Clock times SMs, as the fp32 peak implies it: what all SMs together can start."""
        return self.fp32_flops / (2 * _fp32_lanes(self.compute_capability))

    @property
    def memory_sources(self) -> tuple[str, ...]:
        """Where the two totals come from, how sure they are, and whose profile says so."""
        totals = (
            f"{key}, confidence {confidence}: {self.sources[key]}"
            for key, confidence in (
                ("nvml_total_bytes", self.nvml_confidence),
                ("cuda_total_bytes", self.cuda_confidence),
            )
        )
        return (*totals, *((f"profile from {self.origin}",) if self.origin else ()))


SIZE = re.compile(r"\s*\b\d+\s*GB$", re.IGNORECASE)  # at the end of a name
_MAKERS_WORDS = re.compile(r"nvidia|geforce|quadro|tesla|jetson|rtx|gtx|gpu|\W", re.ASCII)


def card_key(name: str) -> str:
    """What names of one card have in common.

    Case, blanks and makers' words such as "NVIDIA", "GeForce" or "RTX" do not matter, and
    "Laptop GPU" means mobile.
    """
    return _MAKERS_WORDS.sub("", name.lower().replace("laptop", "mobile"))


def sizeless_key(name: str) -> str:
    """The key of a name without the size at its end, if it has one."""
    return card_key(SIZE.sub("", name))


def _fp32_lanes(capability: tuple[int, int]) -> int:
    """fp32 results an SM gives a cycle (CUDA C++ Programming Guide, arithmetic instructions)."""
    return 64 if capability in ((6, 0), (7, 0), (7, 2), (7, 5), (8, 0)) else 128
