"""A workload estimated in a child, with all that ``ffprof estimate`` tells of it."""

from __future__ import annotations

import linecache
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from ffprof.errors import DataError, RefusedError, UsageError, one_line
from ffprof.estimator.allocator import AllocatorConfig, release_of
from ffprof.estimator.breakdown import ELSEWHERE, Breakdown, break_down
from ffprof.estimator.estimate import Estimate, from_stream, last_step
from ffprof.estimator.fit import ABOVE, BELOW, Fit
from ffprof.estimator.replay import MemoryState, mark_position
from ffprof.estimator.roofline import step_time
from ffprof.estimator.snapshot import snapshot, write_snapshot
from ffprof.estimator.stream import Line, Stream
from ffprof.estimator.target import Estimated, Target, bare_row
from ffprof.estimator.workload import STEPS, TracedWorkload, trace_workload
from ffprof.records.audit import Memory, Throughput
from ffprof.records.estimate import (
    FitDetails,
    Fragments,
    HeldSegment,
    Layer,
    Peak,
    RanOut,
    ReservedPeak,
    Single,
)
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded
from ffprof.records.script import CodeLine, HeldByLine
from ffprof.records.trial import Outcome
from ffprof.units import format_bytes
from ffprof.workload import Description

# What the breakdown of a record calls the categories of a stream.
BREAKDOWN = {
    "parameter": "parameters_bytes",
    "buffer": "buffers_bytes",
    "gradient": "gradients_bytes",
    "optimizer state": "optimizer_state_bytes",
    "activation": "activations_bytes",
    "temporary": "temporaries_bytes",
    "workspace": "workspaces_bytes",
    "data": "data_bytes",
    "other": "other_bytes",
}
_NOT_RUN = "nothing was run"
SEGMENTS = 8  # with most free bytes
LINES = 100  # of the user's code
_HELD = ("activation", "temporary")


def estimate_workload(
    description: Description,
    recipe: Recipe,
    target: Target,
    snapshot_to: Path | None = None,
    *,
    with_load: bool = False,
) -> Estimated:
    """One workload under one recipe; what refuses to be estimated says why.

    ``with_load``: the answer says what it needs of the budget (``Estimate.load``), too.

    Raises:
        StoreError: the snapshot cannot be written.
    """
    try:
        objection = description.objection(recipe)
        if objection is not None:
            return _without(description, recipe, target, "refused", objection)
        traced = trace_workload(description, recipe, capability=target.capability)
    except (RefusedError, UsageError) as error:
        return _without(description, recipe, target, "refused", str(error))
    except DataError as error:
        return _without(description, recipe, target, "crashed", str(error))
    found = estimate_traced(traced, recipe, target)
    if snapshot_to is not None:
        write_snapshot(snapshot_to, snapshot(found.stream, config=found.config))
    row = bare_row(
        description,
        recipe,
        target,
        **figures_of(found, found.fit(target.total_bytes)),
        throughput=throughput_of(found, traced, recipe, target),
        useful_flops=traced.facts["useful_flops"],
        recomputed_flops=traced.facts["recomputed_flops"],
    )
    load = found.load(target.total_bytes) if with_load else None
    return Estimated(row=row, facts=traced.facts, operators=traced.operators(), load=load)


def figures_of(found: Estimate, fits: Fit | None) -> dict[str, Any]:
    """What a row says of an estimate; None: it is asked about no budget."""
    ran_out = fits is not None and not fits.replay.fits
    return {
        "outcome": "oom" if ran_out else "ok",
        "message": oom_message(fits, found) if ran_out and fits else "",
        "memory": memory_of(found, fits),
        "fit": None if fits is None else _fit_details(fits, found.stream),
        "peak": _peak(found),
        "activation_peak_bytes": activation_peak(found.stream, found.steps),
        "flops_by_operator": found.flops_by_operator,
    }


def _without(
    description: Description, recipe: Recipe, target: Target, outcome: Outcome, message: str
) -> Estimated:
    return Estimated(row=bare_row(description, recipe, target, outcome, message))


def estimate_traced(traced: TracedWorkload, recipe: Recipe, target: Target) -> Estimate:
    """The figures of a traced workload under the recipe's allocator, without a limit."""
    return from_stream(
        traced.stream,
        steps=STEPS,
        overhead=target.overhead,
        config=AllocatorConfig.parse(recipe.flags.allocator_conf, torch.__version__),
        workspaces=target.model(recipe, release_of(torch.__version__)),
    )


def memory_of(found: Estimate, fits: Fit | None) -> Memory:
    """The figures of an estimate in the record's names."""
    held = {BREAKDOWN[name]: count for name, count in found.breakdown.by_category.items()}
    return Memory(
        allocated_peak_bytes=found.allocated_peak_bytes,
        reserved_peak_bytes=found.reserved_peak_bytes,
        cold_allocated_peak_bytes=found.cold_allocated_peak_bytes,
        cold_reserved_peak_bytes=found.cold_reserved_peak_bytes,
        alloc_retries=fits.retries if fits else None,
        fit=fits.answer if fits else None,
        process_range_bytes=found.process_range_bytes,
        expandable_reserved_peak_bytes=found.expandable_reserved_peak_bytes,
        breakdown={**held, "rounding_bytes": found.breakdown.slack_bytes},
        unread={
            "process_peak_bytes": "estimated as a range: process_range_bytes",
            "device_peak_bytes": _NOT_RUN,
            "host_peak_bytes": _NOT_RUN,
            "live_tensor_peak_bytes": _NOT_RUN,
        },
    )


def throughput_of(
    found: Estimate, traced: TracedWorkload, recipe: Recipe, target: Target
) -> Throughput | None:
    """Its speed on the target's card in the record's names; None without a card."""
    if target.card is None:
        return None
    time = step_time(
        found.operators,
        target.card,
        precision=recipe.precision,
        tf32=recipe.flags.tf32,
        channels_last=recipe.memory_format == "channels_last",
    )
    low, likely, high = time.images_per_second(traced.images)
    return Throughput(
        images_per_second=likely,
        step_seconds=(time.seconds,),
        data_wait_seconds=None,
        images_per_second_range=(low, high),
    )


def oom_message(fits: Fit, found: Estimate) -> str:
    """Where memory ran out, in words; it did."""
    lost = fits.replay.out_of_memory
    assert lost is not None
    wanted = found.stream.allocations[lost.number]
    place = f"{wanted.phase} of {wanted.module}" if wanted.module else wanted.phase
    likely = "" if fits.answer == "does not fit" else " in the likely case"
    return (
        f"estimated to run out of memory{likely}: {format_bytes(lost.asked_bytes)} asked for in "
        f"{place} ({wanted.operator}), {format_bytes(lost.allocated_bytes)} allocated and "
        f"{format_bytes(lost.free_bytes)} free of {format_bytes(fits.capacity_bytes)}; it would "
        f"reserve {format_bytes(found.reserved_peak_bytes)}"
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
        by_phase={str(name): count for name, count in broken.by_phase.items()},
        lines=_lines(broken),
    )


def _lines(broken: Breakdown) -> tuple[HeldByLine, ...]:
    ranked = sorted(broken.by_line.items(), key=lambda item: -sum(item[1].values()))
    return tuple(
        HeldByLine(
            place=_code(line), by_category={str(name): count for name, count in held.items()}
        )
        for line, held in ranked[:LINES]
    )


def _code(line: Line) -> CodeLine:
    if line is None:
        return CodeLine()
    file, number, function = line
    text = linecache.getline(file, number).strip()
    return CodeLine(
        file=recorded(file, 4096),
        line=number,
        function=one_line(function)[:200],
        text=recorded(one_line(text), 400),
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
