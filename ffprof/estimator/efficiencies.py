"""Which share of a card's peaks training reaches, fitted to public training speeds.

``benchmarks/bench_roofline.py`` fits them and prints what is written here. Data: 221 public
speeds (benchmarks/data/public_throughputs.csv) of 51 networks on 19 cards, split in two by
network. The constants come from one half; on the other the median error of the time is 22 %, the
90th percentile 39 %. The band is what held nine tenths of the networks that were not fitted,
over 20 shuffled splits, each fitted by itself (in single splits between 80 and 97 %). Most cards
have one network only, two of the rows are of a card of 8 GB, and no Blackwell card is among them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ffprof.estimator.operator_kinds import Kind


@dataclass(frozen=True, kw_only=True)
class Efficiencies:
    """Shares of the peaks by kind of work, and fixed costs.

    Fitted: ``fp32_compute``, the share of the fp32 peak that products reach (above 1 where
    Winograd saves multiplications); ``tensor_flops_per_sm_cycle``, what an SM feeds its tensor
    cores in one cycle, a limit beside their peak; ``contiguous_slowdown`` of convolutions on
    tensor cores whose images are not channels last; ``memory`` and ``normalisation_memory``,
    shares of the bandwidth (normalisation reads its input twice, which its bytes count once).

    Stated: ``link``, the share of the PCIe peak that copies reach, and ``launch_seconds``, what
    starting one kernel takes at least.

    The band holds ``band_coverage`` of the speeds of the networks that were not fitted; it
    multiplies the time.
    """

    fp32_compute: float
    tensor_flops_per_sm_cycle: float
    contiguous_slowdown: float
    memory: float
    normalisation_memory: float
    link: float
    launch_seconds: float
    band_low: float
    band_high: float
    band_coverage: float

    def bandwidth(self, kind: Kind) -> float:
        """Share of the card's bandwidth."""
        return self.normalisation_memory if kind == "normalisation" else self.memory


# Below so many seconds a kernel, on average, public steps are paced by the host that starts the
# kernels: half precision is hardly faster there than fp32 on the same card. Those rows were not
# fitted, and nothing is claimed for steps of that kind but a floor.
CARD_BOUND_SECONDS = 100e-6

FITTED = Efficiencies(
    fp32_compute=0.992,
    tensor_flops_per_sm_cycle=995,
    contiguous_slowdown=1.36,
    memory=0.604,
    normalisation_memory=0.481,
    # Stated, not fitted: pinned copies come to 12 to 13 of 15.75 GB/s on PCIe 3.0 x16 in NVIDIA's
    # bandwidthTest, and training loops copy from memory that is not always pinned.
    link=0.7,
    # Stated, not fitted: 3.8 microseconds a launch in NVIDIA's "Getting Started with CUDA Graphs"
    # (developer blog, 2019), and PyTorch's own work before each comes on top.
    launch_seconds=5e-6,
    band_low=0.695,
    band_high=1.80,
    band_coverage=0.9,
)
