"""The largest value in a command that fits the card, by few runs of it.

It is looked for as every border is (``ffprof.estimator.sizes.border``). What is different about a
script stands here: it may fail at a value for a reason that is not memory, it may take no more
beyond some value, what it makes on the host is real, so that values grow in bounded strides, and
where the allocator can free its cache, more fits than what is reserved says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ffprof.estimator.sizes import CAP, border
from ffprof.experiments.script.outcome import TWICE
from ffprof.experiments.script.placeholder import PLACEHOLDER
from ffprof.experiments.script.question import Values
from ffprof.experiments.script.request import ScriptRequest, ScriptTarget, target_of
from ffprof.experiments.script.runner import run_on
from ffprof.records.base import MOST_ITEMS
from ffprof.records.redaction import recorded, recorded_words
from ffprof.records.script import ScriptEstimate, ScriptLargest, ScriptTried
from ffprof.units import format_bytes

MOST_RUNS = 40  # of the command, in one search
STRIDE = 16  # how many times the largest that fits the next one may be
_NEAR = 0.97  # of what there is: where the line has led, there it leads no further
_STEPS = 3  # that fit so near
_MARGIN = 0.02  # of what a line says
_BY_ITSELF = ("failed", "incomplete")
Probe = Callable[[int], ScriptEstimate]
Say = Callable[[str], None]


class _EndedError(Exception):
    """Why the search goes no further."""


class _OffLineError(Exception):
    """The line through what is reserved does not lead to the border."""


class Search:
    """One search over n, the values being n times ``unit``.

    Args:
        probe: runs the command with a value.
        least: what the allocator may surely take of the card, in bytes.
        unit: what values are multiples of.
        most_runs: how many runs there may be; a last value may take one more.
    """

    def __init__(
        self, probe: Probe, *, least: int, unit: int = 1, most_runs: int = MOST_RUNS
    ) -> None:
        self._probe, self._least, self._unit, self._most = probe, least, unit, most_runs
        self._cap = max(1, CAP // unit)
        self.found: dict[int, ScriptEstimate] = {}  # by n, as they were tried
        self.low, self.high = 0, self._cap + 1  # the largest that fits, the next that does not
        self.ended = ""
        self._on_line = True

    @property
    def runs(self) -> int:
        """Of the command, so far."""
        return sum(one.runs for one in self.found.values())

    def run(self, start: int) -> None:
        """Search from a value to the end."""
        try:
            at = min(max(start // self._unit, 1), self._cap)
            # One that ran out of memory does not tell how much it takes, so there is no line yet.
            while not self._fits(at) and at > 1:
                at //= 2
            while self.low and self.high - self.low > 1:
                self._look()
        except _EndedError as ended:
            self.ended = str(ended)

    def _look(self) -> None:
        """Move the border as far as one stride.

        Off the line, what is between is halved: between what is reserved and what is allocated
        nothing says where the border is, nor does anything where a value failed by itself.
        """
        top = min(self.high - 1, STRIDE * self.low)
        if self._on_line:
            with suppress(_OffLineError):
                border(self._ask, start=self.low, cap=top, load=self._load)
        else:
            top = max(self.low + 1, min(top, self._allocated_end()))
            border(self._fits, start=(self.low + top + 1) // 2, cap=top)

    def _ask(self, n: int) -> bool:
        well = self._fits(n)
        if not self._on_line:
            raise _OffLineError
        return well

    def _fits(self, n: int) -> bool:
        if n <= self.low or n >= self.high:
            return n <= self.low
        if self.runs >= self._most:
            raise _EndedError(
                f"{self.runs} runs were made, which is the limit; with --multiple-of it takes fewer"
            )
        found = self.found[n] = self._probe(n * self._unit)
        if found.status != "fits" or found.went_on:  # on less than was asked for, then
            self.high = n
            if found.status in _BY_ITSELF:
                self._on_line = False
                if not self.low:
                    raise _EndedError
            return False
        before, self.low = self.low, n
        if 0 < 2 * before <= n and _peaks(self.found[before]) == _peaks(found):
            raise _EndedError(
                f"memory is the same at {before * self._unit:,} and {n * self._unit:,}: the script "
                f"takes no more there (is its data set smaller? is it what {PLACEHOLDER} sets?)"
            )
        # It fits only as its cache is freed, or the line has led here and the border is further on.
        share = self._load(n)
        near = [one for one in self.found if one <= n and (self._load(one) or 1) > _NEAR]
        self._on_line = self._on_line and share is not None and share < 1 and len(near) < _STEPS
        return True

    def _allocated_end(self) -> int:
        """Where a line through what is allocated reaches what there is; hardly more can fit."""
        known = {n: _peaks(one)[0] or 0 for n, one in self.found.items() if n <= self.low}
        apart = max((n for n in known if 2 * n <= self.low), default=None)
        if apart is None or known[apart] >= known[self.low]:
            return 2 * self.low
        slope = (known[self.low] - known[apart]) / (self.low - apart)
        return int((1 + _MARGIN) * (self.low + (self._least - known[self.low]) / slope))

    def _load(self, n: int) -> float | None:
        found = self.found[n]
        if found.process_range_bytes is None or not self._least or found.alloc_retries:
            return None
        if found.status not in ("fits", "too close to call") or found.cold_alloc_retries:
            return None
        # Of several processes on a card, one is allowed for already.
        return (found.process_range_bytes[1] - found.overhead_bytes[2]) / self._least

    @property
    def proven(self) -> bool:
        """Whether the next value does not fit, and memory is why."""
        return (
            0 < self.low == self.high - 1 < self._cap
            and self.found[self.high].status not in _BY_ITSELF
        )

    @property
    def message(self) -> str:
        """What is not proven, and why."""
        if self.proven:
            return ""
        unit, next_one = self._unit, self.found.get(self.high)
        low, high = f"{self.low * unit:,}", f"{self.high * unit:,}"
        told = [self.ended] if self.ended else []
        if next_one is not None and next_one.status in _BY_ITSELF:
            end = ", so this is no border of memory" if self.low else ""
            told.append(f"{high} {_why(next_one)}{end}")
            if unit == 1 and self.low and next_one.status == "failed":
                told.append("if it takes multiples only, --multiple-of says of what")
        elif not self.low:
            told.append(f"not even {high} fits" if self.high == 1 else "nothing is known to fit")
        if self.low and next_one is not None and self.high - self.low > 1:
            told.append(f"between {low} and {high} nothing is known")
        elif self.low == self._cap:
            told.append(f"{low} fits, and larger ones were not tried")
        return "; ".join(told)


def find_largest(
    request: ScriptRequest, values: Values, unit: int = 1, say: Say = lambda text: None
) -> ScriptLargest:
    """Run the command with one value after the other.

    Args:
        request: its command is of no matter.
        values: the value and where it stands.
        unit: what values are multiples of.
        say: told in one line what is tried, and what came of it.

    Raises:
        UsageError: the command cannot be started, or the request cannot be meant.
        NullDeviceError: the device cannot be built.
    """
    target = target_of(request)

    def probe(value: int) -> ScriptEstimate:
        return run_with(value, request, target, values, say)

    search = Search(probe, least=target.room.least, unit=unit)
    search.run(values.template.start)
    there, after = search.found.get(search.low), search.found.get(search.high)
    overhead = target.room.overhead
    return ScriptLargest(
        command=recorded_words(values.template.words)[:MOST_ITEMS],
        grown=values.name,
        unit=unit,
        card=target.card,
        device_name=target.device.name,
        budget_bytes=target.room.total,
        overhead_bytes=(overhead.low_bytes, overhead.likely_bytes, overhead.high_bytes),
        largest=search.low * unit,
        first_failing=search.high * unit if after else None,
        proven=search.proven,
        message=recorded(search.message, 2000),
        runs=search.runs,
        seconds=round(sum(one.seconds for one in search.found.values()), 3),
        tried=tuple(tried_of(n * unit, one) for n, one in sorted(search.found.items())),
        at_largest=there,
        notes=_notes(target.notes if there is None else there.notes),
    )


def run_with(
    value: int, request: ScriptRequest, target: ScriptTarget, values: Values, say: Say
) -> ScriptEstimate:
    """Run the command with a value, and say so before and after."""
    say(f"{values.name} {value:,}: running")
    found = run_on(replace(request, command=values.template.command(value)), target, say)
    peaks = "" if found.ran_out else f", {format_bytes(_peaks(found)[1])} reserved"
    why = found.message if found.status in _BY_ITSELF else ""
    told = f": {why}" if why else peaks
    say(f"{values.name} {value:,}: {found.status}{told} ({found.seconds:.0f} s)")
    return found


def tried_of(value: int, found: ScriptEstimate) -> ScriptTried:
    """A value and what came of it."""
    through = found.status in ("fits", "too close to call") and not found.went_on
    allocated, reserved = _peaks(found) if through else (None, None)
    out = found.ran_out
    less = "memory ran out, and the script went on with less"
    return ScriptTried(
        value=value,
        status="out of memory" if found.went_on else found.status,
        message="" if through else less if found.went_on else found.message,
        place=out.place if out else found.failed_at,
        runs=found.runs,
        seconds=found.seconds,
        allocated_peak_bytes=allocated,
        reserved_peak_bytes=reserved,
        process_range_bytes=found.process_range_bytes if through else None,
        needed_bytes=out.allocated_bytes + out.asked_bytes if out else None,
        known_share=found.coverage.share if found.coverage else None,
    )


def _peaks(found: ScriptEstimate) -> tuple[int | None, int | None]:
    """(allocated, reserved): the higher of the cold and the later ones."""
    allocated = (found.allocated_peak_bytes, found.cold_allocated_peak_bytes)
    reserved = (found.reserved_peak_bytes, found.cold_reserved_peak_bytes)
    return (
        max((size for size in allocated if size is not None), default=None),
        max((size for size in reserved if size is not None), default=None),
    )


def _notes(notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in notes if one != TWICE)


def _why(found: ScriptEstimate) -> str:
    how = "failed by itself" if found.status == "failed" else "gave no figure"
    return f"{how} ({found.message})"
