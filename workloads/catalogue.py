"""The shipped workloads, described without torch; one entry point each."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from ffprof.workload import BackboneSource, Description, Setting
from workloads.architecture import check_backbone, check_local


def _load(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"workloads.{module}"), name)


def _backbone() -> BackboneSource:
    source: BackboneSource = _load("backbones", "initial_state")
    return source


class _Method:
    """What the schedules of one method have in common; called with what a row adds."""

    def __init__(self, name: str, family: str, module: str, **common: Any) -> None:
        self._module = module
        self._common = {"method": name, "reference": name, "family": family, **common}

    def __call__(
        self, id: str, schedule: str, summary: str, build: str, **more: Any
    ) -> Description:
        return Description(
            id=id,
            schedule=schedule,
            summary=summary,
            load=partial(_load, self._module, build),
            load_backbone=_backbone,
            **{**self._common, **more},
        )


_RULES = ("read", "last", "mean")
_PATH2 = "path-2 norm between blocks"
_HEADS = f"{_PATH2}, a head a block, read-out"
_bp = _Method("bp", "bp", "bp", check=check_backbone, network=_PATH2)
_plain = _Method("bp-plain", "bp", "bp", check=check_backbone, network="no norm between blocks")
# Ranges are symmetric around the default, in orders of magnitude (R). T begins halfway.
_T_RANGE = (
    Setting(name="t_max", low=0.5, high=8.0, default=2.0),
    Setting(name="t_min", low=0.02, high=0.5, default=0.1),
)
_goodness: dict[str, Any] = {
    "check": check_local,
    "rules": _RULES,
    "network": _HEADS,
    "settings": _T_RANGE,
}
_deepsup = _Method("bp-deepsup", "bp", "dtg_ff", **_goodness)
_local = _Method("dtg-ff", "ff", "dtg_ff", **_goodness)
_coupled = _Method("dtg-ff-coupled", "ff", "dtg_ff", **_goodness)
_asge = _Method(
    "asge",
    "ff",
    "dtg_ff",
    **{
        **_goodness,
        "network": f"{_HEADS}, no N1",
        "settings": (Setting(name="temperature", low=0.05, high=20.0, default=1.0),),
    },
    shares="part",
)
_hinton = _Method(
    "hinton-ff",
    "ff",
    "hinton_ff",
    check=check_backbone,
    network=f"{_PATH2}, no N1, each image passes twice (right and wrong label)",
    shares="part",
    settings=(
        Setting(name="scale", low=16.0, high=4096.0, default=256.0),
        Setting(name="strength", low=0.2, high=2.5, default=0.5**0.5),
    ),
)

BP = _bp("bp", "full batch", "backprop on the matched blocks", "build", core=True, rank=10)
BP_ACCUM = _bp(
    "bp-accum",
    "accumulated",
    "backprop, gradients accumulated over micro-batches",
    "build",
    accumulates=True,
    core=True,
    rank=20,
)
BP_CKPT = _bp(
    "bp-ckpt",
    "checkpointed per block",
    "keeps block inputs only, recomputes the rest in backward",
    "build_checkpointed",
    core=True,
    rank=30,
)
BP_CKPT_ACCUM = _bp(
    "bp-ckpt-accum",
    "checkpointed per block, accumulated",
    "checkpointed per block, over micro-batches",
    "build_checkpointed",
    accumulates=True,
    core=True,
    rank=31,
)
BP_CKPT_SQRT = _bp(
    "bp-ckpt-sqrt",
    "checkpointed in sqrt(L) segments",
    "keeps the inputs of about sqrt(L) segments of blocks",
    "build_sqrt",
    rank=32,
)
BP_CKPT_SQRT_ACCUM = _bp(
    "bp-ckpt-sqrt-accum",
    "checkpointed in sqrt(L) segments, accumulated",
    "checkpointed in sqrt(L) segments, over micro-batches",
    "build_sqrt",
    accumulates=True,
    rank=33,
)
BP_FUSED_STEP = _bp(
    "bp-fused-step",
    "full batch, optimizer step inside backward",
    "each parameter updated as its gradient is ready, which is then freed",
    "build",
    steps_in_backward=True,
    rank=40,
)
BP_OFFLOAD = _bp(
    "bp-offload",
    "full batch, saved activations on the host",
    "saved activations moved to the host and back (on a CPU: copied)",
    "build_offloaded",
    rank=41,
)
BP_PLAIN = _plain(
    "bp-plain",
    "full batch",
    "backprop on the plain backbone, without the path-2 norm",
    "build_plain",
    rank=50,
)
BP_PLAIN_ACCUM = _plain(
    "bp-plain-accum",
    "accumulated",
    "plain backbone, over micro-batches",
    "build_plain",
    accumulates=True,
    rank=51,
)
BP_DEEPSUP = _deepsup(
    "bp-deepsup",
    "full batch",
    "dtg-ff's network and losses, end to end",
    "build_deep_supervision",
    core=True,
    rank=60,
)
BP_DEEPSUP_ACCUM = _deepsup(
    "bp-deepsup-accum",
    "accumulated",
    "deep supervision, over micro-batches",
    "build_deep_supervision",
    accumulates=True,
    rank=61,
)
DTG_FF = _local(
    "dtg-ff",
    "monolithic",
    "local losses, all graphs alive until one backward",
    "build_monolithic",
    core=True,
    rank=110,
)
DTG_FF_ACCUM = _local(
    "dtg-ff-accum",
    "monolithic, accumulated",
    "monolithic, gradients accumulated over micro-batches",
    "build_monolithic",
    accumulates=True,
    rank=120,
)
DTG_FF_STREAMED = _local(
    "dtg-ff-streamed",
    "streamed",
    "local losses, each block's graph freed before the next",
    "build_streamed",
    core=True,
    rank=130,
)
DTG_FF_STREAMED_ACCUM = _local(
    "dtg-ff-streamed-accum",
    "streamed, accumulated",
    "streamed, gradients accumulated over micro-batches",
    "build_streamed",
    accumulates=True,
    core=True,
    rank=140,
)
DTG_FF_COUPLED = _coupled(
    "dtg-ff-coupled",
    "monolithic",
    "the read-out trains the blocks too; one backward",
    "build_coupled",
    rank=150,
)
DTG_FF_COUPLED_ACCUM = _coupled(
    "dtg-ff-coupled-accum",
    "monolithic, accumulated",
    "coupled, over micro-batches",
    "build_coupled",
    accumulates=True,
    rank=151,
)
DTG_FF_TWOPASS = _coupled(
    "dtg-ff-twopass",
    "two passes, streamed",
    "coupled exactly: a pass without graphs, then block by block",
    "build_two_pass",
    rank=160,
)
DTG_FF_TWOPASS_ACCUM = _coupled(
    "dtg-ff-twopass-accum",
    "two passes, streamed, accumulated",
    "two passes, over micro-batches",
    "build_two_pass",
    accumulates=True,
    rank=161,
)
ASGE = _asge(
    "asge",
    "monolithic",
    "like dtg-ff's predecessor: no N1, raw energies, T = 1",
    "build_asge",
    rank=170,
)
ASGE_STREAMED = _asge(
    "asge-streamed",
    "streamed",
    "the same, each block's graph freed before the next",
    "build_asge_streamed",
    rank=171,
)
HINTON_FF = _hinton(
    "hinton-ff",
    "streamed",
    "positive and negative images, a threshold on mean-square activity",
    "build",
    rank=180,
)
