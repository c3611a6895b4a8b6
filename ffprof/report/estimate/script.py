"""What a script takes of a card, by the run of it on a device that is not there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ffprof.records.script import ScriptEstimate, ValueRead
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.estimate.holdings import by_line, by_module, by_name, place_words
from ffprof.report.estimate.table import between
from ffprof.units import format_bytes, format_seconds

_READS = 8
_CALLS = 8
_HEADLINES = {
    "fits": "It fits.",
    "too close to call": "Too close to call.",
    "out of memory": "It runs out of memory.",
    "failed": "The script failed.",
    "incomplete": "Incomplete.",
}
# What shapes memory; others stand in the record.
_LEADING = ("torch", "cuda", "cudnn", "transformers")


def script_document(found: ScriptEstimate, width: int) -> Document:
    """Status, peaks, what holds the memory, what was read, and what was answered blindly."""
    return printable(
        Document(
            title=f"GPU memory of {command_words(found.command, width - 14)}, emulated",
            setting=_setting(found),
            blocks=(
                Block(text=(_headline(found),)),
                _peaks(found),
                _cost(found),
                *_peak(found, width),
                _reads(found),
                _coverage(found),
                Block(heading="Notes" if found.notes else "", lines=found.notes),
            ),
        )
    )


def command_words(command: Sequence[str], width: int) -> str:
    """A command as it is typed, cut at the width."""
    words = shlex.join(command)
    most = max(20, width)
    return words if len(words) <= most else words[: most - 1] + "…"


def _setting(found: ScriptEstimate) -> tuple[str, ...]:
    low, likely, high = map(format_bytes, found.overhead_bytes)
    offered = f"CUDA offers {format_bytes(found.budget_bytes)}"
    if found.status == "fits" and found.fit is None:
        offered = f"the allocator may take {format_bytes(found.capacity_bytes)}"
    versions = [f"{name} {found.versions[name]}" for name in _LEADING if name in found.versions]
    versions += [f"{n} {v}" for n, v in sorted(found.versions.items()) if n not in _LEADING]
    many_cards = f"{found.cards} x " if found.cards > 1 else ""
    count = f"{found.steps} of {found.steps_requested} steps"
    many = f" in {found.processes} processes" if found.processes > 1 else ""
    return (
        f"{many_cards}{found.card or found.device_name}: {offered}; "
        f"context and libraries add {low} to {high}, likely {likely}",
        f"{count}{many} in {format_seconds(found.seconds)}, by PyTorch's own CUDA code on a device "
        "that is not there: memory is counted, kernels do nothing",
        *((", ".join(versions),) if versions else ()),
        *((f"allocator {found.allocator_conf}",) if found.allocator_conf else ()),
    )


def _headline(found: ScriptEstimate) -> str:
    words = _HEADLINES[found.status]
    if found.status == "fits" and found.fit is None:
        words = "It ran; whether it fits a card was not asked."
    said = [words, *([found.message] if found.message else [])]
    place = found.ran_out.place if found.ran_out else found.failed_at
    if place is not None and place.file:
        said.append(f"It was here: {place_words(place)}")
    if found.conditional and found.fit is not None:
        said.append("The answer is conditional: the script read values from the device (below).")
    if found.compiled:
        said.append("The model is compiled.")
    return " ".join(_sentence(one) for one in said)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


def _peaks(found: ScriptEstimate) -> Block:
    if found.cold_reserved_peak_bytes is None:
        return Block()
    if found.cards > 1 or any(one.processes > 1 for one in found.by_device):
        return _peaks_by_device(found)
    columns = (
        Column(name="peak", numeric=False),
        Column(name="allocated"),
        Column(name="reserved"),
        Column(name="process"),
    )
    rows = [
        (
            "first step",
            format_bytes(found.cold_allocated_peak_bytes),
            format_bytes(found.cold_reserved_peak_bytes),
            "",
        )
    ]
    if found.reserved_peak_bytes is not None:
        rows.append(
            (
                "later steps",
                format_bytes(found.allocated_peak_bytes),
                format_bytes(found.reserved_peak_bytes),
                "",
            )
        )
    rows[-1] = (*rows[-1][:3], between(found.process_range_bytes))
    if not found.steps:
        rows[0] = ("whole run", *rows[0][1:])
    retries = ""
    if found.alloc_retries:
        retries = (
            f"; the cache was given back {found.alloc_retries} times to serve a request, which "
            "costs speed"
        )
    return Block(
        columns=columns,
        rows=tuple(rows),
        caption="allocated, reserved: torch.cuda.max_memory_allocated and _reserved; process: the "
        f"higher reserved peak with context and libraries{retries}",
    )


def _peaks_by_device(found: ScriptEstimate) -> Block:
    columns = (
        Column(name="card"),
        Column(name="processes"),
        Column(name="allocated"),
        Column(name="reserved"),
        Column(name="first step, reserved"),
        Column(name="with processes"),
    )
    rows = [
        (
            str(one.device),
            str(one.processes),
            format_bytes(one.allocated_peak_bytes),
            format_bytes(one.reserved_peak_bytes),
            format_bytes(one.cold_reserved_peak_bytes),
            between(one.process_range_bytes),
        )
        for one in found.by_device
    ]
    unused = found.cards - len(found.by_device)
    return Block(
        columns=columns,
        rows=tuple(rows),
        caption="peaks of later steps, of all processes on the card together; with processes: the "
        "higher reserved peak with context and libraries of each"
        + (f"; {unused} of {found.cards} cards were not used" if unused else ""),
    )


def _cost(found: ScriptEstimate) -> Block:
    cost = found.step_cost
    if cost is None:
        return Block()
    text = f"A step runs {cost.operators:,} operators and computes {flops_words(cost.flops)}"
    if cost.seconds is None or cost.low_seconds is None or cost.high_seconds is None:
        return Block(text=(f"{text} (counted by formulas).",))
    low, high = time_words(cost.low_seconds), time_words(cost.high_seconds)
    if cost.paced_by_host:
        text += (
            f". By the roofline it takes at least about {low} on {found.card} (estimated); its "
            "kernels are so short that the host is likely to set the pace."
        )
    else:
        text += (
            f": about {time_words(cost.seconds)} on {found.card} by the roofline (estimated; "
            f"{cost.band_coverage * 100:.0f} % of public speeds: {low} to {high})."
        )
    return Block(text=(text,))


def time_words(seconds: float) -> str:
    """``45.2 ms`` or ``1.32 s``."""
    if seconds >= 60:
        return format_seconds(seconds)
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def flops_words(flops: int) -> str:
    """``1.21 TFLOP``."""
    for unit, size in (("TFLOP", 10**12), ("GFLOP", 10**9), ("MFLOP", 10**6)):
        if flops >= size:
            return f"{flops / size:.3g} {unit}"
    return f"{flops} FLOP"


def _peak(found: ScriptEstimate, width: int) -> Sequence[Block]:
    peak = found.peak
    if peak is None:
        return ()
    when = "when memory ran out" if found.ran_out else "at the peak"
    held = {**peak.by_category, "rounding and unsplit": peak.slack_bytes}
    whole = sum(held.values())
    told = (
        "activations: all that the step has made; other: what was there before it, and workspaces"
    )
    return (
        by_name(f"What is held {when}", "category", held, whole, told),
        by_module(peak.modules, whole, width),
        by_line(peak.lines, whole, width),
    )


def _reads(found: ScriptEstimate) -> Block:
    if not found.reads:
        return Block()
    lines = [_read_words(one) for one in found.reads[:_READS]]
    if len(found.reads) > _READS:
        lines.append(f"and {len(found.reads) - _READS} more lines")
    often = times(found.values_read)
    text = f"It read from the device {often}. Kernels do nothing here, so most values are zeros."
    if found.conditional:
        text += " If what it does depends on them, it may take other memory in a real run."
    return Block(heading="Values read", text=(text,), lines=tuple(lines))


def _read_words(one: ValueRead) -> str:
    by = f" (read by {one.library})" if one.library else ""
    sizes = "; it decides the size of a tensor" if one.decides_sizes else ""
    often = "" if one.count == 1 else f", {times(one.count)}"
    return f"{place_words(one.place)}: {one.what}{often}{by}{sizes}"


def _coverage(found: ScriptEstimate) -> Block:
    coverage = found.coverage
    if coverage is None or found.cold_reserved_peak_bytes is None:
        return Block()
    text = (
        f"{coverage.launches:,} kernels and {coverage.library_calls:,} calls of libraries; "
        f"{share_known(coverage.share)}."
    )
    modelled = sum(coverage.modelled.values())
    if modelled:
        text += f" {modelled:,} sizes of workspaces are those of the estimator's model of cuDNN."
    names = [f"not known: {name}" for name in coverage.unknown]
    names += [f"assumed: {name}" for name in coverage.assumed]
    counts = [*coverage.unknown.values(), *coverage.assumed.values()]
    lines = [f"{name}, {times(n)}" for name, n in zip(names, counts, strict=True)][:_CALLS]
    if len(names) > _CALLS:
        lines.append(f"and {len(names) - _CALLS} more")
    return Block(heading="Coverage", text=(text,), lines=tuple(lines))


def times(count: int) -> str:
    """``1 time``, ``2 times``."""
    return "1 time" if count == 1 else f"{count:,} times"


def share_known(part: float) -> str:
    """How many calls were answered without assuming anything: ``all`` of everything only."""
    if part == 1:
        return "all calls are known to the device, and nothing is assumed"
    return f"{min(part * 100, 99.99):.2f} % of all calls are answered without an assumption"
