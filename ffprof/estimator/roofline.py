"""How long a training step takes on a card that is not there: a roofline over its operators.

Every operator takes the longest of three times (Williams, Waterman and Patterson, "Roofline",
CACM 52(4), 2009, and a floor for small work): its FLOPs at the peak of its number format, its
bytes at the card's bandwidth, each times the share of the peak that is reached in practice, and
the time that starting its kernels takes. What limits an operator depends on its kind, which its
name tells. Operators do not overlap, as in PyTorch on one stream. Waiting for a slow host is not in
it: where much is bound by launches, the step may take longer.

The shares are fitted to public training speeds. ``benchmarks/accuracy/roofline.py`` fits them and
prints what is written here. Data: 221 public speeds (public_throughputs.csv next to it) of 51
networks on 19 cards, split in two by network. The constants come from one half; on the other the
median error of the time is 22 %, the 90th percentile 39 %. The band is what held nine tenths of the
networks that were not fitted, over 20 shuffled splits, each fitted by itself (in single splits
between 80 and 97 %). Most cards have one network only, two of the rows are of a card of 8 GB, and
no Blackwell card is among them.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ffprof.estimator.stream import Operator
from ffprof.hardware.profile import Card
from ffprof.records.recipe import Precision

Kind = Literal[
    "convolution", "matrix product", "normalisation", "elementwise", "optimizer", "copy",
    "host transfer", "no work",
]  # fmt: skip

# Operators that only describe memory again, so that no kernel runs: views and metadata in
# PyTorch's native_functions.yaml.
_VIEWS = frozenset(
    [
        *("view", "_unsafe_view", "_reshape_alias", "reshape", "t", "transpose", "permute"),
        *("expand", "as_strided", "detach", "alias", "slice", "select", "squeeze", "unsqueeze"),
        *("unfold", "split", "split_with_sizes", "chunk", "unbind", "diagonal", "movedim"),
        *("narrow", "view_as", "lift_fresh", "empty", "empty_like", "empty_strided"),
        *("new_empty", "new_empty_strided", "set_", "resize_", "item", "_local_scalar_dense"),
    ]
)
_COPIES = frozenset(["copy_", "_to_copy", "clone", "contiguous", "to", "_foreach_copy_"])
_PRODUCTS = frozenset(
    [
        *("mm", "addmm", "bmm", "baddbmm", "addbmm", "matmul", "linear", "linear_backward"),
        *("addmv", "mv", "dot", "_addmm_activation"),
    ]
)


@functools.cache
def kind_of(name: str, phase: str) -> Kind:
    """The kind of an operator such as ``aten.convolution`` or ``aten.relu_.default``.

    A copy while data are fetched comes from the host. What an optimizer does elementwise is
    kept apart, since it works on all parameters and not on activations.
    """
    parts = name.split(".")
    bare = parts[1] if len(parts) > 1 else parts[0]
    if bare in _VIEWS:
        return "no work"
    if "convolution" in bare or "conv2d" in bare or "conv_transpose" in bare:
        return "convolution"
    if bare in _PRODUCTS or "scaled_dot_product" in bare or "attention" in bare:
        return "matrix product"
    if bare in _COPIES:
        return "host transfer" if phase == "data" else "copy"
    if phase == "optimizer" or bare.startswith(("_foreach", "_fused")):
        return "optimizer"
    if any(word in bare for word in ("batch_norm", "layer_norm", "group_norm", "instance_norm")):
        return "normalisation"
    return "elementwise"


def kernels_of(name: str) -> int:
    """Kernels that one run of an operator starts, at least (reconstructed, not counted).

    A backward operator gives two gradients.
    """
    return 2 if "backward" in name else 1


@dataclass(frozen=True, kw_only=True)
class Efficiencies:
    """Shares of the peaks by kind of work, and fixed costs.

    Fitted: ``fp32_compute``, the share of the fp32 peak that products reach (above 1 where
    Winograd saves multiplications); ``tensor_flops_per_sm_cycle``, what an SM feeds its tensor
    cores in one cycle, a limit in addition to their peak; ``contiguous_slowdown`` of convolutions
    on tensor cores whose images are not channels last; ``memory`` and ``normalisation_memory``,
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


Bound = Literal["compute", "bandwidth", "launch", "link"]

_TENSOR_KINDS = ("convolution", "matrix product")
# GeForce cards have two fp64 units for 128 fp32 lanes (NVIDIA, Ada GPU architecture whitepaper);
# P100, V100, A100, H100 and B200 have half as many as fp32 lanes (CUDA C++ Programming Guide,
# arithmetic instructions).
_FP64_SHARE = 1 / 64
_MANY_FP64 = ((6, 0), (7, 0), (8, 0), (9, 0), (10, 0))


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One operator (all its runs in a step), what limits it and for how long."""

    operator: Operator
    kind: Kind
    bound: Bound
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """One training step as the card would take it.

    ``low_seconds`` and ``high_seconds`` are the band that held ``coverage`` of the public speeds
    of networks that were not fitted. Shares are of ``seconds`` and sum to 1. FLOPs count a
    multiply-add as two; what is computed again to save memory is apart from what is useful.
    ``band_applies`` is false where kernels are so short that the host is likely to set the pace:
    then the step takes at least about ``low_seconds``, and how much more is not known.
    """

    card: str
    seconds: float
    low_seconds: float
    high_seconds: float
    coverage: float
    band_applies: bool
    kernels: int
    share_by_bound: Mapping[str, float]
    share_by_phase: Mapping[str, float]
    share_by_kind: Mapping[str, float]
    useful_flops: int
    recomputed_flops: int
    recompute_seconds: float
    slowest: tuple[Timed, ...]

    def images_per_second(self, batch: int) -> tuple[float, float, float]:
        """(low, likely, high) for a step over ``batch`` images."""
        return batch / self.high_seconds, batch / self.seconds, batch / self.low_seconds


def step_time(
    operators: Iterable[Operator],
    card: Card,
    *,
    precision: Precision,
    tf32: bool,
    channels_last: bool = False,
    efficiencies: Efficiencies = FITTED,
    slowest: int = 10,
) -> StepTime:
    """The time of one step that runs these operators, and what it is spent on.

    ``precision`` says which 2-byte format the recipe computes in; ``tf32`` whether fp32 products
    may be rounded to TF32 (``recipe.flags.tf32``).

    Raises:
        ValueError: no operator does any work.
    """
    timed = [
        time_operator(
            operator,
            card,
            precision=precision,
            tf32=tf32,
            channels_last=channels_last,
            efficiencies=efficiencies,
        )
        for operator in operators
    ]
    total = sum(one.seconds for one in timed)
    if total <= 0:
        raise ValueError("no operator does any work")
    kernels = sum(
        kernels_of(one.operator.name) * one.operator.times for one in timed if one.seconds > 0
    )
    recomputed = [one for one in timed if one.operator.phase == "recompute"]
    flops = {
        again: sum(
            one.operator.flops * one.operator.times
            for one in timed
            if (one.operator.phase == "recompute") is again
        )
        for again in (True, False)
    }
    return StepTime(
        card=card.name,
        seconds=total,
        low_seconds=total * efficiencies.band_low,
        high_seconds=total * efficiencies.band_high,
        coverage=efficiencies.band_coverage,
        band_applies=total / kernels >= CARD_BOUND_SECONDS,
        kernels=kernels,
        share_by_bound=_shares((one.bound, one.seconds) for one in timed),
        share_by_phase=_shares((one.operator.phase, one.seconds) for one in timed),
        share_by_kind=_shares((one.kind, one.seconds) for one in timed),
        useful_flops=flops[False],
        recomputed_flops=flops[True],
        recompute_seconds=sum(one.seconds for one in recomputed),
        slowest=tuple(sorted(timed, key=lambda one: -one.seconds)[:slowest]),
    )


def time_operator(
    operator: Operator,
    card: Card,
    *,
    precision: Precision,
    tf32: bool,
    channels_last: bool = False,
    efficiencies: Efficiencies = FITTED,
) -> Timed:
    """What limits one operator, and how long all its runs take together (seconds)."""
    kind = kind_of(operator.name, operator.phase)
    if kind == "no work":
        return Timed(operator=operator, kind=kind, bound="launch", seconds=0.0)
    if kind == "host transfer":
        link = card.pcie_bytes_per_second * efficiencies.link
        times: dict[Bound, float] = {"link": operator.written_bytes / link}
    else:
        times = _on_card(operator, kind, card, precision, tf32, channels_last, efficiencies)
    times["launch"] = kernels_of(operator.name) * efficiencies.launch_seconds
    bound = max(times, key=lambda key: times[key])
    return Timed(operator=operator, kind=kind, bound=bound, seconds=times[bound] * operator.times)


def _on_card(
    operator: Operator,
    kind: Kind,
    card: Card,
    precision: Precision,
    tf32: bool,
    channels_last: bool,
    efficiencies: Efficiencies,
) -> dict[Bound, float]:
    peak, tensor_cores = _peak(operator, kind, card, precision, tf32)
    if tensor_cores:
        # Two rates in series: the tensor cores, and the SMs that feed them.
        fed = efficiencies.tensor_flops_per_sm_cycle * card.sm_cycles_per_second
        compute = operator.flops * (1 / peak + 1 / fed)
    else:
        compute = operator.flops / (peak * efficiencies.fp32_compute)
    bandwidth = card.bandwidth_bytes_per_second * efficiencies.bandwidth(kind)
    moving = operator.touched_bytes / bandwidth
    if kind == "convolution" and tensor_cores and not channels_last:
        # Tensor-core convolutions want channels last; cuDNN converts what comes otherwise.
        compute *= efficiencies.contiguous_slowdown
        moving *= efficiencies.contiguous_slowdown
    return {"compute": compute, "bandwidth": moving}


def _peak(
    operator: Operator, kind: Kind, card: Card, precision: Precision, tf32: bool
) -> tuple[float, bool]:
    """(FLOP/s of the units that compute it, whether those are tensor cores)."""
    if operator.element_bytes >= 8:
        share = 1 / 2 if card.compute_capability in _MANY_FP64 else _FP64_SHARE
        return card.fp32_flops * share, False
    rate: float | None = None
    if kind in _TENSOR_KINDS:
        if operator.element_bytes <= 2:
            rate = card.bf16_tensor_flops if precision == "bf16" else card.fp16_tensor_flops
        elif tf32:
            rate = card.tf32_flops
    # Without the units, libraries widen to fp32; TF32 off, or no TF32, are the fp32 lanes.
    return (card.fp32_flops, False) if rate is None else (rate, True)


def _shares(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for key, seconds in pairs:
        if seconds > 0:
            sums[key] += seconds
    total = sum(sums.values())
    return {key: sums[key] / total for key in sorted(sums, key=lambda key: -sums[key])}
