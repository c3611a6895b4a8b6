"""An estimated trial: a workload traced here, replayed and timed for a card that is not here.

Runs in a child, as everything that needs torch does, and answers in the form of a measured trial.
"""

from __future__ import annotations

import torch

from ffprof.estimator.allocator import AllocatorConfig
from ffprof.estimator.estimate import Estimate, from_stream
from ffprof.estimator.fit import Fit
from ffprof.estimator.roofline import step_time
from ffprof.estimator.target import Target
from ffprof.estimator.workload import STEPS, TracedWorkload, trace_workload
from ffprof.harness.process.messages import Failed, Finished, Report
from ffprof.records.audit import Conditions, Memory, Throughput
from ffprof.records.recipe import Recipe
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


def estimate_trial(description: Description, recipe: Recipe, target: Target) -> Finished | Failed:
    """The answer of an estimated trial.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
        UsageError: its step cannot be traced soundly.
    """
    traced = trace_workload(description, recipe)
    found = estimate_traced(traced, recipe, target)
    fits = found.fit(target.total_bytes)
    memory = memory_of(found, fits)
    report = Report(
        memory=memory,
        throughput=throughput_of(found, traced, recipe, target),
        loss=None,
        conditions=Conditions(),
        facts=traced.facts,
        operators=traced.operators(),
    )
    if not fits.replay.fits:
        return Failed(outcome="oom", message=oom_message(fits, found), report=report)
    return Finished(report=report)


def estimate_traced(traced: TracedWorkload, recipe: Recipe, target: Target) -> Estimate:
    """The figures of a traced workload under the recipe's allocator, without a limit."""
    return from_stream(
        traced.stream,
        steps=STEPS,
        overhead=target.overhead,
        config=AllocatorConfig.parse(recipe.flags.allocator_conf, torch.__version__),
        workspaces=target.model(recipe),
    )


def memory_of(found: Estimate, fits: Fit) -> Memory:
    """The figures of an estimate in the record's names."""
    held = {BREAKDOWN[name]: count for name, count in found.breakdown.by_category.items()}
    return Memory(
        allocated_peak_bytes=found.allocated_peak_bytes,
        reserved_peak_bytes=found.reserved_peak_bytes,
        cold_allocated_peak_bytes=found.cold_allocated_peak_bytes,
        cold_reserved_peak_bytes=found.cold_reserved_peak_bytes,
        alloc_retries=fits.retries,
        fit=fits.answer,
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
