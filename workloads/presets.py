"""The shipped recipes, the claims they put to the test, and the paper's two figures."""

from __future__ import annotations

from ffprof.workload import Claim, Preset, Recipe, Reference


def _claims(challenger: str, baseline: str) -> tuple[Claim, Claim]:
    name = f"{challenger}-vs-{baseline.replace('family:', 'best-')}"
    return (
        Claim(
            id=f"{name}-memory",
            challenger=challenger,
            baseline=baseline,
            metric="memory",
            direction="lower",
        ),
        Claim(
            id=f"{name}-throughput",
            challenger=challenger,
            baseline=baseline,
            metric="throughput",
            direction="at_least",
        ),
    )


CLAIMS = (
    *_claims("dtg-ff", "bp-accum"),
    *_claims("dtg-ff-streamed", "bp-accum"),
    *_claims("dtg-ff-streamed-accum", "family:bp"),
)

# From the abstract of arXiv 2606.06539 (P). Backbone, batch, micro-batches, optimizer, precision
# and whether memory is allocated or reserved are not public.
_SOURCE = "arXiv 2606.06539, abstract: ImageNet-100 at 224x224 on an 8 GB GPU"
REFERENCES = (
    Reference(
        label="BP + gradient accumulation",
        source=_SOURCE,
        memory_text="4.18 GB",
        images_per_second=157,
    ),
    Reference(label="DTG-FF", source=_SOURCE, memory_text="7.90 GB", images_per_second=138),
)

# On a CPU rows are faster in channels_last, most by 5 to 20 % (docs/workloads.md). imagenet100 is
# meant for GPUs, where float32 convolutions are said to gain nothing by it; this is not measured.

SMOKE = Preset(
    name="smoke",
    summary="seconds: does everything run here? digits at 16x16",
    recipe=Recipe(
        preset="smoke",
        backbone="vgg8",
        width=0.125,
        image_size=16,
        classes=10,
        batch=32,
        micro_batch=8,
        memory_format="channels_last",
        data="digits",
        warmup_steps=2,
        steps=10,
        min_steps=5,
        step_box_seconds=2.0,
        claims=CLAIMS,
    ),
)
SMALL = Preset(
    name="small",
    summary="minutes on a CPU: digits at 32x32, vgg8 at a quarter of its width",
    recipe=Recipe(
        preset="small",
        backbone="vgg8",
        width=0.25,
        image_size=32,
        classes=10,
        batch=64,
        micro_batch=16,
        memory_format="channels_last",
        data="digits",
        claims=CLAIMS,
    ),
    default_for="cpu",
)
CIFAR = Preset(
    name="cifar",
    summary="CIFAR-shaped digits: 32x32, 10 classes, vgg8; real ones with --data",
    recipe=Recipe(
        preset="cifar",
        backbone="vgg8",
        image_size=32,
        classes=10,
        batch=128,
        micro_batch=32,
        memory_format="channels_last",
        data="digits",
        claims=CLAIMS,
    ),
)
IMAGENET100 = Preset(
    name="imagenet100",
    summary="ImageNet-100-shaped: 224x224, 100 classes, vgg11, synthetic images",
    recipe=Recipe(
        preset="imagenet100",
        backbone="vgg11",
        image_size=224,
        classes=100,
        batch=64,
        micro_batch=16,
        data="synthetic",
        claims=CLAIMS,
        references=REFERENCES,
    ),
    default_for="cuda",
)
