"""A workload estimated in a child, with all that ``ffprof estimate`` tells of it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from ffprof.errors import DataError, RefusedError, UsageError
from ffprof.estimator.breakdown import ELSEWHERE, break_down
from ffprof.estimator.estimate import Estimate, last_step
from ffprof.estimator.fit import ABOVE, BELOW, Fit
from ffprof.estimator.replay import MemoryState, mark_position
from ffprof.estimator.snapshot import snapshot, write_snapshot
from ffprof.estimator.stream import Stream
from ffprof.estimator.target import Target, bare_row
from ffprof.estimator.trial import estimate_traced, memory_of, oom_message, throughput_of
from ffprof.estimator.workload import STEPS, trace_workload
from ffprof.records.estimate import (
    FitDetails,
    Fragments,
    HeldSegment,
    Layer,
    Peak,
    PeakRow,
    RanOut,
    ReservedPeak,
    Single,
)
from ffprof.records.recipe import Recipe
from ffprof.workload import Description

SEGMENTS = 8  # with most free bytes
_HELD = ("activation", "temporary")


def answer(
    description: Description, recipe: Recipe, target: Target, snapshot_to: Path | None = None
) -> PeakRow:
    """The row of one workload under one recipe; what refuses to be estimated says why.

    Raises:
        StoreError: the snapshot cannot be written.
    """
    try:
        objection = description.objection(recipe)
        if objection is not None:
            return bare_row(description, recipe, target, "refused", objection)
        traced = trace_workload(description, recipe)
    except (RefusedError, UsageError) as error:
        return bare_row(description, recipe, target, "refused", str(error))
    except DataError as error:
        return bare_row(description, recipe, target, "crashed", str(error))
    found = estimate_traced(traced, recipe, target)
    if snapshot_to is not None:
        write_snapshot(snapshot_to, snapshot(found.stream, config=found.config))
    fits = found.fit(target.total_bytes)
    ran_out = not fits.replay.fits
    return bare_row(
        description,
        recipe,
        target,
        "oom" if ran_out else "ok",
        oom_message(fits, found) if ran_out else "",
        memory=memory_of(found, fits),
        throughput=throughput_of(found, traced, recipe, target),
        fit=_fit_details(fits, found.stream),
        peak=_peak(found),
        activation_peak_bytes=activation_peak(found.stream, STEPS),
        flops_by_operator=found.flops_by_operator,
        useful_flops=traced.facts["useful_flops"],
        recomputed_flops=traced.facts["recomputed_flops"],
    )


def activation_peak(stream: Stream, steps: int) -> int:
    """The most bytes of activations and temporaries at once in the last step's passes.

    What the optimizer makes for itself grows with the parameters, and is left out.
    """
    start, now, most = mark_position(stream, last_step(steps)), 0, 0
    for position, event in enumerate(stream.events):
        one = stream.allocations[event if event >= 0 else ~event]
        if one.category in _HELD and one.phase != "optimizer":
            now += one.nbytes if event >= 0 else -one.nbytes
        if position >= start:
            most = max(most, now)
    return most


def _fit_details(fits: Fit, stream: Stream) -> FitDetails:
    lost = fits.replay.out_of_memory
    ran_out = None
    if lost is not None:
        wanted = stream.allocations[lost.number]
        ran_out = RanOut(
            phase=wanted.phase,
            module=wanted.module,
            operator=wanted.operator,
            asked_bytes=lost.asked_bytes,
            allocated_bytes=lost.allocated_bytes,
            free_bytes=lost.free_bytes,
        )
    return FitDetails(
        answer=fits.answer,
        margin_above=ABOVE,
        margin_below=BELOW,
        budget_bytes=max(0, fits.budget_bytes),
        capacity_bytes=fits.capacity_bytes,
        retries=fits.retries,
        ran_out=ran_out,
    )


def _peak(found: Estimate) -> Peak:
    broken = found.breakdown
    return Peak(
        phase=broken.phase,
        module=broken.module,
        operator=broken.operator,
        allocated_bytes=broken.allocated_bytes,
        reserved_bytes=broken.reserved_bytes,
        slack_bytes=broken.slack_bytes,
        by_category={str(name): count for name, count in broken.by_category.items()},
        layers=_layers(found.stream, found.replay.at_allocated_peak),
        largest=tuple(
            Single(nbytes=size, category=kind, module=module, operator=operator)
            for size, kind, module, operator in broken.largest
        ),
        at_reserved=_reserved(found),
    )


def _reserved(found: Estimate) -> ReservedPeak:
    state = found.replay.at_reserved_peak
    broken, parts = break_down(found.stream, state), state.fragmentation
    return ReservedPeak(
        phase=broken.phase,
        module=broken.module,
        operator=broken.operator,
        allocated_bytes=broken.allocated_bytes,
        reserved_bytes=broken.reserved_bytes,
        slack_bytes=broken.slack_bytes,
        fragments=Fragments(
            rounding_bytes=parts.rounding_bytes,
            unsplit_bytes=parts.unsplit_bytes,
            stuck_bytes=parts.stuck_bytes,
            cached_bytes=parts.cached_bytes,
        ),
        segment_count=len(state.segments),
        segments=_segments(found.stream, state),
    )


def _layers(stream: Stream, state: MemoryState) -> tuple[Layer, ...]:
    """In the order in which modules were made; what runs outside of them by operator."""
    held: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for number in state.live:
        one = stream.allocations[number]
        key = (one.module, "") if one.module else (ELSEWHERE, one.operator)
        held[key][one.category] += one.nbytes
    ordered = sorted(held, key=lambda key: key[0] == ELSEWHERE)
    return tuple(
        Layer(module=key[0], operator=key[1], by_category=dict(held[key])) for key in ordered
    )


def _segments(stream: Stream, state: MemoryState) -> tuple[HeldSegment, ...]:
    some = sorted(state.segments, key=lambda one: -one.free_bytes)[:SEGMENTS]
    return tuple(_segment(stream, one) for one in some if one.free_bytes)


def _segment(stream: Stream, one: Any) -> HeldSegment:
    used = [block for block in one.blocks if block.state == "active"]
    largest = max(used, key=lambda block: block.size_bytes, default=None)
    holder = stream.allocations[largest.owner] if largest else None
    return HeldSegment(
        pool="small" if one.small else "large",
        size_bytes=one.size_bytes,
        free_bytes=one.free_bytes,
        largest_free_bytes=one.largest_free_bytes,
        blocks_in_use=len(used),
        holder=f"{holder.category} of {holder.module or ELSEWHERE}" if holder else "",
    )
