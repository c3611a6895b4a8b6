"""What the runs of a script amount to: a status, and the record of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ffprof.errors import one_line
from ffprof.estimator.overhead import Overhead
from ffprof.experiments.script.cost import cost_of
from ffprof.experiments.script.request import Room, ScriptRequest, ScriptTarget
from ffprof.harness.process.child import signal_name
from ffprof.harness.process.command import CommandEnding
from ffprof.nulldevice import DeviceReport
from ffprof.nulldevice.script.report import (
    SCALER,
    DevicePeaks,
    Held,
    Place,
    Problem,
    Read,
    ScriptReport,
)
from ffprof.records.base import MOST_ITEMS
from ffprof.records.redaction import recorded, recorded_words
from ffprof.records.script import (
    CodeLine,
    Coverage,
    DevicePeak,
    HeldAtPeak,
    HeldByLine,
    HeldByModule,
    ScriptEstimate,
    ScriptRanOut,
    Status,
    ValueRead,
)
from ffprof.records.trial import Fit
from ffprof.units import format_bytes

TWICE = "it was run twice, because the answer is close"
_MOST_NAMES = 50  # of calls
_FITS: dict[Status, Fit] = {
    "fits": "fits",
    "too close to call": "too close to call",
    "out of memory": "does not fit",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run with ``capacity`` bytes for the allocator; ``steps`` are what was requested."""

    capacity: int
    ending: CommandEnding
    reports: tuple[ScriptReport, ...]
    device: DeviceReport
    steps: int

    @property
    def main(self) -> ScriptReport | None:
        """The process that did most steps, and of these the one that held most."""
        return self.reports[0] if self.reports else None

    @property
    def problem(self) -> Problem | None:
        """The exception that ended a process: out of memory before any other."""
        found = [one.problem for one in self.reports if one.problem]
        return max(found, key=lambda one: one.out_of_memory, default=None)

    @property
    def out_of_memory(self) -> bool:
        """Whether that is how it ended, told by an exception or, if it was caught, by a hook."""
        if self.completed or self.ending.late:
            return False
        if self.problem is not None:
            return self.problem.out_of_memory
        return self.ending.status != 0 and any(one.ran_out for one in self.reports)

    @property
    def completed(self) -> bool:
        """Whether it did the steps that were requested, or fewer and then ended well."""
        main = self.main
        if main is None or main.top is None or not main.steps:
            return False
        if main.finished:
            return not any(one.problem for one in self.reports)
        return self.ending.status == 0 and not self.ending.late

    @property
    def by_device(self) -> dict[int, list[DevicePeaks]]:
        """Peaks on every card that was used, one a process."""
        found: dict[int, list[DevicePeaks]] = {}
        for report in self.reports:
            for one in report.peaks:
                found.setdefault(one.device, []).append(one)
        return dict(sorted(found.items()))

    @property
    def retries(self) -> int:
        """Times that cached memory was given back to serve a request, by all."""
        return sum(one.retries for report in self.reports for one in report.peaks)


def sure_to_fit(run: Run, room: Room) -> bool:
    """Whether a run that got through would have on every card, had processes left least."""
    if run.retries:
        return False
    further = room.overhead.high_bytes  # of each further process on the card
    return all(
        _most(peaks) + (len(peaks) - 1) * further <= room.least for peaks in run.by_device.values()
    )


def _most(peaks: Iterable[DevicePeaks]) -> int:
    """The highest reserved peaks of processes, cold or steady, together."""
    return sum(one.most_reserved for one in peaks)


def may_fit(run: Run, room: Room) -> bool:
    """Whether a run that ran out of memory might not have, had the process left most."""
    out = next((one.ran_out for one in run.reports if one.ran_out), None)
    return out is None or out.asked + out.allocated <= room.most


def fit_of_peaks(allocated: int, reserved: int, total: int, overhead: tuple[int, int, int]) -> Fit:
    """Whether a run without a limit, with these peaks, fits a card of so many bytes."""
    low, likely, high = overhead
    made = Overhead(low_bytes=low, likely_bytes=likely, high_bytes=high, measured=False, sources=())
    room = Room(total=total, overhead=made)
    if reserved <= room.least:
        return "fits"
    return "does not fit" if allocated > room.most else "too close to call"


def answer(first: Run, second: Run | None, room: Room) -> Status:
    """The status, by the run with what is likely left and the one with more or less."""
    if first.completed:
        if sure_to_fit(first, room) or (second is not None and second.completed):
            return "fits"
        return "too close to call"
    if first.out_of_memory:
        return "too close to call" if second is not None and second.completed else "out of memory"
    if first.ending.late:
        return "incomplete"
    return "failed" if first.problem or first.ending.status != 0 else "incomplete"


def estimate_of(
    request: ScriptRequest, target: ScriptTarget, first: Run, status: Status, second: Run | None
) -> ScriptEstimate:
    """The record; figures are of the run that got through, if one did."""
    told = second if second is not None and second.completed and not first.completed else first
    main = told.main
    top = main.top if main else None
    overhead = target.room.overhead
    reads = _reads(told.reports)
    by_device = tuple(_on_device(n, peaks, overhead) for n, peaks in told.by_device.items())
    return ScriptEstimate(
        command=recorded_words(request.shown or request.command)[:MOST_ITEMS],
        status=status,
        message=recorded(message_of(first, status, target.room), 2000),
        fit=_FITS.get(status) if target.limited and request.capacity is None else None,
        steps=main.steps if main else 0,
        steps_requested=request.steps,
        processes=sum(bool(one.used_cuda) for one in told.reports),
        seconds=round(first.ending.seconds + (second.ending.seconds if second else 0.0), 3),
        runs=1 if second is None else 2,
        card=target.card,
        cards=request.cards,
        device_name=target.device.name,
        budget_bytes=target.room.total,
        capacity_bytes=told.capacity,
        overhead_bytes=(overhead.low_bytes, overhead.likely_bytes, overhead.high_bytes),
        allocator_conf=target.allocator_conf,
        allocated_peak_bytes=top and top.allocated,
        reserved_peak_bytes=top and top.reserved,
        cold_allocated_peak_bytes=top and top.cold_allocated,
        cold_reserved_peak_bytes=top and top.cold_reserved,
        process_range_bytes=_worst([one.process_range_bytes for one in by_device]),
        by_device=by_device,
        alloc_retries=top and (top.steady_retries if top.reserved is not None else top.retries),
        cold_alloc_retries=top.retries - top.steady_retries if top and top.reserved else 0,
        oom_events=told.device.out_of_memory,
        went_on=told.completed and any(one.ran_out for one in told.reports),
        values_read=sum(one.count for one in reads),
        reads=reads[:MOST_ITEMS],
        conditional=any(not one.library.startswith(SCALER) for one in reads),
        compiled=any(one.compiled for one in told.reports),
        peak=_held(main.held) if main and main.held else None,
        step_cost=cost_of(main.operators, target.profile) if main and main.operators else None,
        ran_out=_ran_out(first) if first.out_of_memory else None,
        failed_at=_code(first.problem.place) if status == "failed" and first.problem else None,
        coverage=_coverage(told.device),
        versions=dict(main.versions) if main else {},
        notes=(*target.notes, *_notes(told, second)),
    )


def _worst(ranges: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Over cards: the most of either end."""
    return (max(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def _on_device(device: int, peaks: Sequence[DevicePeaks], overhead: Overhead) -> DevicePeak:
    most, count = _most(peaks), len(peaks)
    steady = [one for one in peaks if one.allocated is not None and one.reserved is not None]
    return DevicePeak(
        device=device,
        processes=count,
        allocated_peak_bytes=sum(
            one.cold_allocated if one.allocated is None else one.allocated for one in peaks
        )
        if steady
        else None,
        reserved_peak_bytes=sum(
            one.cold_reserved if one.reserved is None else one.reserved for one in peaks
        )
        if steady
        else None,
        cold_allocated_peak_bytes=sum(one.cold_allocated for one in peaks),
        cold_reserved_peak_bytes=sum(one.cold_reserved for one in peaks),
        process_range_bytes=(
            most + count * overhead.low_bytes,
            most + count * overhead.high_bytes,
        ),
    )


def message_of(run: Run, status: Status, room: Room) -> str:
    """One line that says why, where the status alone does not."""
    main, problem, ending = run.main, run.problem, run.ending
    if status == "too close to call":
        return (
            f"whether it fits depends on what context and libraries take: "
            f"{format_bytes(room.overhead.low_bytes)} to {format_bytes(room.overhead.high_bytes)}"
        )
    if run.out_of_memory:
        return one_line(problem.message if problem else f"out of memory; {ending.last_line}")
    if status == "fits":
        return ""
    if status == "failed":
        if problem is not None:
            return one_line(f"{problem.kind}: {problem.message}")
        how = f"exit status {ending.status}"
        if ending.status is not None and ending.status < 0:
            how = f"killed by {signal_name(-ending.status)}"
        return one_line(f"{how}: {ending.last_line}" if ending.last_line else how)
    if main is None:
        return (
            "it ended without importing torch in a Python that is watched; ffprof watches "
            f"{sys.executable} and Pythons that it is installed for"
            if not ending.late
            else "its time limit was over before it imported torch"
        )
    if ending.late:
        return f"stopped at its time limit after {_steps(main.steps)}; --time-limit gives it more"
    if not main.used_cuda:
        return "it asked for no CUDA device, so there is nothing to tell of a GPU"
    if main.steps:
        return "it ended before its steps were done"
    return "it ended before an optimizer of torch.optim took a step; peaks are of all that it did"


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _notes(run: Run, second: Run | None) -> list[str]:
    main = run.main
    notes: list[str] = []
    if main is None:
        return notes
    if run.completed and main.steps < run.steps:
        notes.append(f"the script ended by itself after {_steps(main.steps)}")
    out = next((one.ran_out for one in run.reports if one.ran_out), None)
    if run.completed and out is not None:
        times = "once" if out.count == 1 else f"{out.count} times"
        notes.append(f"memory ran out {times}, and the script, or a library in it, went on")
    if main.compiled:
        notes.append(
            "the model is compiled: what compiling itself takes of the GPU is not seen, and what "
            "modules hold and how many operators run is not told"
        )
    elif main.held is not None and not main.held.modules:
        notes.append("what modules hold could not be followed here")
    if second is not None:
        notes.append(TWICE)
    return notes


def _coverage(device: DeviceReport) -> Coverage:
    blind = sum(device.unknown.values()) + sum(device.assumed.values())
    groups = (device.modelled, device.library_calls, device.launches, device.computed)
    known = sum(sum(group.values()) for group in groups)
    return Coverage(
        share=known / (known + blind) if blind else 1.0,
        unknown=_first(device.unknown),
        assumed=_first(device.assumed),
        modelled=_first(device.modelled),
        library_calls=sum(device.library_calls.values()),
        launches=sum(device.launches.values()) + sum(device.computed.values()),
        device_reads=device.reads,
        device_read_bytes=device.read_bytes,
    )


def _first(counts: Mapping[str, int]) -> dict[str, int]:
    return {one_line(name)[:200]: count for name, count in list(counts.items())[:_MOST_NAMES]}


def _code(place: Place) -> CodeLine:
    return CodeLine(
        file=place.file[:4096],
        line=place.line,
        function=one_line(place.function)[:200],
        text=one_line(place.text)[:400],
    )


def _reads(reports: Iterable[ScriptReport]) -> tuple[ValueRead, ...]:
    """Those of all processes, each line once, the most frequent first."""
    counts: Counter[Read] = Counter()
    for report in reports:
        for one in report.reads:
            counts[replace(one, count=0)] += one.count
    return tuple(_read(replace(one, count=count)) for one, count in counts.most_common())


def _read(one: Read) -> ValueRead:
    return ValueRead(
        what=one.what,
        count=one.count,
        place=_code(one.place),
        library=one_line(one.inner)[:400],
        decides_sizes=one.decides_sizes,
    )


def _held(held: Held) -> HeldAtPeak:
    return HeldAtPeak(
        by_category=dict(held.by_category),
        lines=tuple(
            HeldByLine(place=_code(one.place), by_category=dict(one.by_category))
            for one in held.lines
        ),
        slack_bytes=held.slack,
        modules=tuple(
            HeldByModule(module=one_line(one.module)[:200], by_category=dict(one.by_category))
            for one in held.modules[:MOST_ITEMS]
        ),
    )


def _ran_out(run: Run) -> ScriptRanOut | None:
    found = next((one for one in run.reports if one.ran_out), None)
    if found is None or found.ran_out is None:
        return None
    out, problem = found.ran_out, run.problem
    place = problem.place if problem and problem.place.file else out.place
    return ScriptRanOut(
        message=one_line(problem.message)[:2000] if problem else "",
        place=_code(place),
        device=out.device,
        asked_bytes=out.asked,
        allocated_bytes=out.allocated,
        reserved_bytes=out.reserved,
    )
