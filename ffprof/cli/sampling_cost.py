"""``ffprof doctor --measure``: what ffprof's own look at the GPU costs, in words and as JSON."""

from __future__ import annotations

import statistics
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from ffprof.records.audit import Device

if TYPE_CHECKING:
    from rich.console import Console

    from ffprof.harness.sampling_cost import SamplerRun

ALLOWED = 0.005  # share of throughput that sampling may cost

Verdict = Literal["kept", "broken", "not resolved", "nothing to measure", "not measured"]


@dataclass(frozen=True, kw_only=True)
class SamplerCost:
    """How much sampling changes throughput: ``change`` and its 95 % interval, as shares.

    ``sampling`` names the GPU that was looked at; where there is none, ``why`` says so, nothing is
    sampled in either half, and ``change`` tells only what these blocks can resolve.
    """

    device: Device
    verdict: Verdict
    why: str = ""
    sampling: str | None = None
    workload: str = ""
    preset: str = ""
    pairs: int = 0
    change: float | None = None
    low: float | None = None
    high: float | None = None
    allowed: float = ALLOWED
    samples: int = 0
    sample_milliseconds: float | None = None
    sample_worst_milliseconds: float | None = None
    sample_processor_milliseconds: float | None = None


def measure_cost(device: Device, seconds: float) -> SamplerCost:
    """Measure it with the first row of the processor's preset, whose short steps notice most."""

    from ffprof.experiments.selection import all_workloads, choose_preset
    from ffprof.hardware.environment import child_environment, environment
    from ffprof.hardware.machine import resolve_threads
    from ffprof.harness.process.child import start_context
    from ffprof.harness.sampling_cost import GpuOpener, measure_sampler

    preset = choose_preset(None, "cpu")
    recipe = resolve_threads(preset.recipe)
    row = next(d for d in all_workloads()[0] if d.core and d.objection(recipe) is None)
    opener = GpuOpener()
    with environment(child_environment(recipe)):
        # As audits start their trials: never forked beside CUDA.
        context = start_context("spawn" if device == "cuda" else "forkserver")
        run = measure_sampler(context, row.id, recipe, device, opener, seconds)
    return judge(run, device, opener.name, opener.problem, workload=row.id, preset=recipe.preset)


def judge(
    run: SamplerRun, device: Device, sampling: str | None, why: str, *, workload: str, preset: str
) -> SamplerCost:
    """Paired log ratios of blocks with sampling to blocks without; see ``paired_ratio``."""
    from ffprof.analysis.statistics.intervals import paired_ratio

    # A sample that fails costs something else than one that is answered.
    problem = run.problem or ("samples failed: " + "; ".join(run.unread) if run.unread else "")
    if problem:
        return SamplerCost(device=device, verdict="not measured", why=problem)
    found = paired_ratio(run.sampled, run.alone)
    change = found.ratio - 1
    low = None if found.low is None else found.low - 1
    high = None if found.high is None else found.high - 1
    verdict: Verdict = "not resolved"
    if sampling is None:
        verdict = "nothing to measure"
    elif low is not None and low >= -ALLOWED:
        verdict = "kept"
    elif high is not None and high < -ALLOWED:
        verdict = "broken"
    took = run.sample_seconds
    return SamplerCost(
        device=device,
        verdict=verdict,
        why=why,
        sampling=sampling,
        workload=workload,
        preset=preset,
        pairs=found.pairs,
        change=change,
        low=low,
        high=high,
        samples=len(took),
        sample_milliseconds=_milli(statistics.median(took)) if took else None,
        sample_worst_milliseconds=_milli(max(took)) if took else None,
        sample_processor_milliseconds=_milli(statistics.fmean(run.processor_seconds))
        if took
        else None,
    )


def in_words(cost: SamplerCost) -> list[str]:
    """Some sentences, each a line."""
    if cost.verdict == "not measured":
        return [f"The sampler's cost was not measured: {cost.why}"]
    loop = (
        f"{cost.workload}, preset {cost.preset}, on the {_DEVICES[cost.device]}, "
        f"{cost.pairs} pairs of blocks"
    )
    interval = ""
    if cost.low is not None and cost.high is not None:
        interval = f" (95 % interval {100 * cost.low:+.2f} to {100 * cost.high:+.2f} %)"
    change = f"{100 * (cost.change or 0):+.2f} %{interval}"
    if cost.sampling is None:
        return [
            f"Nothing is sampled on this machine ({cost.why}): ffprof sleeps while trials run.",
            f"Blocks of the same steps, nothing switched, differ by {change}: {loop}.",
        ]
    lines = [
        f"Sampling {cost.sampling} changes throughput by {change}, "
        f"allowed {100 * cost.allowed:.1f} %: {_VERDICTS[cost.verdict]}.",
        f"Measured with {loop}.",
    ]
    if cost.sample_milliseconds is not None:
        lines.append(
            f"One sample takes {cost.sample_milliseconds:.2f} ms (median of {cost.samples}, at "
            f"most {cost.sample_worst_milliseconds:.2f} ms), of which "
            f"{cost.sample_processor_milliseconds:.2f} ms of a processor, ten times a second."
        )
    return lines


def print_cost(cost: SamplerCost, console: Console) -> None:
    """The sentences, below the findings."""
    console.print()
    for line in in_words(cost):
        wrapped = textwrap.wrap(line, max(24, console.width - 1), break_on_hyphens=False)
        console.print(Text("\n".join(wrapped)), crop=False)


_DEVICES = {"cpu": "processor", "cuda": "GPU"}
_VERDICTS = {
    "kept": "kept",
    "broken": "more than allowed",
    "not resolved": "the interval is too wide to tell; measure longer (--measure-seconds) or "
    "where nothing else runs",
}


def _milli(seconds: float) -> float:
    return 1000 * seconds
