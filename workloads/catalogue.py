"""The shipped workloads, described without torch; one entry point each."""

from __future__ import annotations

from ffprof.workload import BackboneSource, Builder, Description
from workloads.architecture import check_backbone, check_local


def _backbone() -> BackboneSource:
    from workloads.backbones import initial_state

    return initial_state


def _backprop() -> Builder:
    from workloads.bp import build

    return build


def _monolithic() -> Builder:
    from workloads.dtg_ff import build_monolithic

    return build_monolithic


def _streamed() -> Builder:
    from workloads.dtg_ff import build_streamed

    return build_streamed


BP = Description(
    id="bp",
    method="bp",
    schedule="full batch",
    family="bp",
    summary="backprop on the matched blocks",
    load=_backprop,
    load_backbone=_backbone,
    reference="bp",
    check=check_backbone,
    core=True,
    rank=10,
)
BP_ACCUM = Description(
    id="bp-accum",
    method="bp",
    schedule="accumulated",
    family="bp",
    summary="backprop, gradients accumulated over micro-batches",
    load=_backprop,
    load_backbone=_backbone,
    accumulates=True,
    reference="bp",
    check=check_backbone,
    core=True,
    rank=20,
)

_LOCAL_RULES = ("read", "last", "mean")

DTG_FF = Description(
    id="dtg-ff",
    method="dtg-ff",
    schedule="monolithic",
    family="ff",
    summary="local losses, all graphs alive until one backward",
    load=_monolithic,
    load_backbone=_backbone,
    reference="dtg-ff",
    check=check_local,
    rules=_LOCAL_RULES,
    core=True,
    rank=110,
)
DTG_FF_ACCUM = Description(
    id="dtg-ff-accum",
    method="dtg-ff",
    schedule="monolithic, accumulated",
    family="ff",
    summary="monolithic, gradients accumulated over micro-batches",
    load=_monolithic,
    load_backbone=_backbone,
    accumulates=True,
    reference="dtg-ff",
    check=check_local,
    rules=_LOCAL_RULES,
    core=True,
    rank=120,
)
DTG_FF_STREAMED = Description(
    id="dtg-ff-streamed",
    method="dtg-ff",
    schedule="streamed",
    family="ff",
    summary="local losses, each block's graph freed before the next",
    load=_streamed,
    load_backbone=_backbone,
    reference="dtg-ff",
    check=check_local,
    rules=_LOCAL_RULES,
    core=True,
    rank=130,
)
DTG_FF_STREAMED_ACCUM = Description(
    id="dtg-ff-streamed-accum",
    method="dtg-ff",
    schedule="streamed, accumulated",
    family="ff",
    summary="streamed, gradients accumulated over micro-batches",
    load=_streamed,
    load_backbone=_backbone,
    accumulates=True,
    reference="dtg-ff",
    check=check_local,
    rules=_LOCAL_RULES,
    core=True,
    rank=140,
)
