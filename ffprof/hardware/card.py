"""A GPU model as its profile describes it: memory, peaks and links, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ffprof.units import MIB, parse_size

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
    cudaMemGetInfo calls the total, ``driver_total_bytes`` what nvidia-smi does. A card whose
    ``class_objection`` is not empty is left out when a size such as 8GB is asked for. ``sources``
    has one entry for every figure, under its name in the profile.
    """

    name: str
    sold_as_bytes: int
    driver_total_bytes: int
    cuda_total_bytes: int
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
    confidence: Confidence
    class_objection: str
    sources: Mapping[str, str]

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
        """Where the two totals come from, for people."""
        keys = ("driver_total_mib", "cuda_total_mib")
        return tuple(f"{key}: {self.sources[key]}" for key in keys)


def card_from(profile: Mapping[str, Any]) -> Card:
    """The card that a profile of hw_profiles/ describes.

    Raises:
        KeyError, ValueError: it is not a profile.
    """
    generation, lanes = profile["pcie"].removeprefix("PCIe ").split(" x")
    major, minor = profile["compute_capability"].split(".")
    return Card(
        name=profile["name"],
        sold_as_bytes=parse_size(profile["class"]),
        driver_total_bytes=profile["driver_total_mib"] * MIB,
        cuda_total_bytes=profile["cuda_total_mib"] * MIB,
        architecture=profile["architecture"],
        chip=profile["chip"],
        year=profile["year"],
        compute_capability=(int(major), int(minor)),
        sm_count=profile["sm_count"],
        memory_type=profile["memory_type"],
        bandwidth_bytes_per_second=profile["bandwidth_gb_s"] * 1e9,
        fp32_flops=profile["fp32_tflops"] * 1e12,
        tf32_flops=_tera(profile.get("tf32_tflops")),
        fp16_tensor_flops=_tera(profile.get("fp16_tensor_tflops")),
        bf16_tensor_flops=_tera(profile.get("bf16_tensor_tflops")),
        tdp_watts=profile["tdp_watts"],
        pcie_generation=int(float(generation)),
        pcie_lanes=int(lanes),
        confidence=profile["confidence"],
        class_objection=profile.get("stands_for_class", "").removeprefix("no: "),
        sources=profile["sources"],
    )


def _fp32_lanes(capability: tuple[int, int]) -> int:
    """fp32 results an SM gives a cycle (CUDA C++ Programming Guide, arithmetic instructions)."""
    return 64 if capability in ((6, 0), (7, 0), (7, 2), (7, 5), (8, 0)) else 128


def _tera(rate: float | None) -> float | None:
    return None if rate is None else rate * 1e12
