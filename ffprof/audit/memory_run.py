"""A short run that only asks for memory: warm-up, and two steps after it; nothing is timed.

It is the timeline of ``ffprof.audit.trial`` up to its settled steps, so its peaks are those of a
trial. Untimed passes and checks are left out.
"""

from __future__ import annotations

from typing import Any

import torch

from ffprof.audit.data import make_batches
from ffprof.audit.figures import breakdown, memory_figures
from ffprof.audit.passes import Untimed
from ffprof.audit.plain import OwnStep
from ffprof.audit.step import build_step
from ffprof.audit.timeline import Instruments, run_timeline
from ffprof.audit.trial import Feed
from ffprof.hardware.flags import apply_flags
from ffprof.records.audit import Memory
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import StepDescription

STEPS = 2  # after warm-up and the settling step
_UNWATCHED = "a short run: only what the allocator tells"


def measure_memory(
    description: Description, recipe: Recipe, device: torch.device, tools: Instruments
) -> Memory:
    """The allocator's peaks of one workload, in this process.

    Raises:
        RefusedError: the workload cannot be built, or its step is none.
        torch.OutOfMemoryError: it does not fit.
    """
    apply_flags(recipe)
    short = recipe.model_copy(update={"steps": STEPS, "min_steps": STEPS})
    unwatched = Untimed(
        live_peak_bytes=None,
        saved_peak_bytes=None,
        live_reason=_UNWATCHED,
        saved_reason=_UNWATCHED,
    )
    if isinstance(description, StepDescription):
        build: Any = description.load()
        torch.manual_seed(recipe.seed)
        own = OwnStep(build(device))
        return memory_figures(run_timeline(own, short, device, tools), unwatched, {})
    batches = make_batches(short, device.type)
    batches.start()
    built = build_step(description, short, device)
    feed = Feed(built.step, batches, description.micro_batch(short), tools.clock)
    course = run_timeline(feed, short, device, tools)
    batches.stop()
    return memory_figures(course, unwatched, breakdown(built.module, built.update))
