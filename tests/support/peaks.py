"""Rows of ``ffprof estimate`` that no workload made."""

from ffprof.records.audit import Memory, Throughput
from ffprof.records.estimate import (
    FitDetails,
    Fragments,
    HeldSegment,
    Layer,
    Peak,
    PeakRow,
    ReservedPeak,
    Single,
)

MIB = 2**20


def peak(layers, slack=0, cached=0):
    held = {}
    for one in layers:
        for name, size in one.by_category.items():
            held[name] = held.get(name, 0) + size
    allocated = sum(held.values()) + slack
    return Peak(
        phase="backward",
        module="blocks.3",
        operator="aten.relu",
        allocated_bytes=allocated,
        reserved_bytes=allocated + cached,
        slack_bytes=slack,
        by_category=held,
        layers=tuple(layers),
        largest=tuple(
            Single(nbytes=size, category=kind, module=one.module, operator="aten.convolution")
            for one in layers
            for kind, size in one.by_category.items()
        )[:10],
        at_reserved=ReservedPeak(
            phase="optimizer",
            module="",
            operator="aten._foreach_add",
            allocated_bytes=allocated,
            reserved_bytes=allocated + cached,
            slack_bytes=slack,
            fragments=Fragments(
                rounding_bytes=0, unsplit_bytes=slack, stuck_bytes=0, cached_bytes=cached
            ),
            segment_count=2,
            segments=(
                HeldSegment(
                    pool="large",
                    size_bytes=cached,
                    free_bytes=cached,
                    largest_free_bytes=cached,
                    blocks_in_use=0,
                    holder="",
                ),
            )
            if cached
            else (),
        ),
    )


def layer(module, operator="", **held):
    sizes = {name.replace("_", " "): size * MIB for name, size in held.items()}
    return Layer(module=module, operator=operator, by_category=sizes)


def row(workload="some", layers=(), answer="fits", outcome="ok", message="", **more):
    found = peak(layers or [layer("blocks.0", activation=100)], slack=MIB, cached=50 * MIB)
    figures = {}
    if outcome in ("ok", "oom"):
        figures = {
            "memory": Memory(
                allocated_peak_bytes=found.allocated_bytes,
                reserved_peak_bytes=found.reserved_bytes,
                cold_reserved_peak_bytes=found.reserved_bytes,
                process_range_bytes=(found.reserved_bytes + MIB, found.reserved_bytes + 9 * MIB),
                expandable_reserved_peak_bytes=found.allocated_bytes + 3 * MIB,
            ),
            "throughput": Throughput(
                images_per_second=123.0,
                step_seconds=(0.5,),
                data_wait_seconds=None,
                images_per_second_range=(100.0, 140.0),
            ),
            "fit": FitDetails(
                answer=answer,
                margin_above=0.05,
                margin_below=0.02,
                budget_bytes=8000,
                capacity_bytes=7000,
                retries=2,
            ),
            "peak": found,
            "activation_peak_bytes": 100 * MIB,
            "useful_flops": 10,
            "recomputed_flops": 2,
        }
    shared = {
        "workload": workload,
        "method": workload,
        "schedule": "full batch",
        "family": "own",
        "batch": 64,
        "micro_batch": 16,
        "image_size": 32,
        "backbone": "vgg8",
        "outcome": outcome,
        "message": message,
        "card": "GeForce RTX 4060",
        "budget_bytes": 8000,
        "overhead_bytes": (1, 2, 3),
    }
    return PeakRow(**{**shared, **figures, **more})
