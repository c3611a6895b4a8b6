"""What a parent learns of the GPU while its child measures, and what spoils a trial's figures.

This is the only place that says where the line between noise and disturbance is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Protocol

from ffprof.instruments.nvml.energy import energy
from ffprof.instruments.nvml.library import GpuLostError, NvmlError
from ffprof.instruments.nvml.processes import Owners
from ffprof.instruments.nvml.sample import POWER_CAP, DeviceFacts, Sample, in_words
from ffprof.records.trial import DebitSource, Energy, GpuConditions

_UNTIMED = "there was no timed phase"
_BETWEEN = "no sample fell into the timed phase"
_THROTTLE = ("slowdowns", "slowed_share", "power_capped_share")


class GpuSource(Protocol):
    """Where samples come from."""

    def sample(self) -> Sample:
        """One look.

        Raises:
            NvmlError: the driver does not answer.
        """

    def close(self) -> None:
        """Release what is held."""


class Watch:
    """Takes samples at no more than 10 Hz; answers when the child has told its timed phase.

    Args:
        pid: the child's, or a function that gives the numbers of all its processes.
        baseline: a sample from before the child began; without one, a container's processes
            are not distinguished.
        facts: of the GPU; without them there is no default clock.
    """

    def __init__(
        self,
        pid: int | Callable[[], Iterable[int]],
        baseline: Sample | None = None,
        *,
        facts: DeviceFacts | None = None,
    ) -> None:
        self._owners, self._facts = Owners(pid, baseline), facts
        self._samples: list[Sample] = []
        self._told = False  # the list of processes was
        self.reason = ""  # of the last sample that could not be taken
        self.lost = ""
        self.device_peak_bytes: int | None = None

    @property
    def samples(self) -> int:
        """How many were taken."""
        return len(self._samples)

    @property
    def process_peak_bytes(self) -> int | None:
        """The most that the child's process held, context and libraries included."""
        return self._owners.figure()[0]

    @property
    def process_source(self) -> DebitSource | None:
        """How the child's process was identified."""
        return self._owners.figure()[1]

    def take_from(self, gpu: GpuSource) -> None:
        """Take one sample; a failure is remembered, and sampling may go on."""
        try:
            self.take(gpu.sample())
        except NvmlError as error:
            self.failed(error)

    def take(self, sample: Sample) -> None:
        """Take in one sample."""
        self._samples.append(sample)
        used = sample.device_used_bytes
        if used is not None:
            self.device_peak_bytes = max(self.device_peak_bytes or 0, used)
        if sample.processes is not None:
            self._told = True
            self._owners.see(sample.processes)

    def failed(self, error: NvmlError) -> None:
        """A sample could not be taken."""
        self.reason = str(error)
        if isinstance(error, GpuLostError):
            self.lost = str(error)

    def process_reason(self) -> str:
        """Why there is no process figure, or nothing."""
        if not self._told:
            return self._unread("processes")
        return self._owners.figure()[2]

    def device_reason(self) -> str:
        """Why there is no device figure, or nothing."""
        return "" if self.device_peak_bytes is not None else self._unread("device_used_bytes")

    def energy(
        self, start: float, end: float, images: int, idle_watts: float | None = None
    ) -> tuple[Energy | None, str]:
        """Of the timed phase, with a remark or the reason why there is none.

        See ``ffprof.instruments.nvml.energy.energy``.
        """
        if not self._samples:
            return None, self._unread("power_watts")
        return energy(self._samples, start, end, images, idle_watts)

    def conditions(self, start: float | None, end: float | None) -> GpuConditions:
        """How the GPU was; without a timed phase, of clocks and throttling nothing.

        Args:
            start: of the timed phase, ``time.monotonic()`` seconds.
            end: of the timed phase.
        """
        timed: list[Sample] = []
        if start is not None and end is not None:
            timed = [s for s in self._samples if start <= s.seconds <= end]
        why = _UNTIMED if start is None or end is None else _BETWEEN
        unread: dict[str, str] = {}

        def values(field: str, *names: str) -> list[float]:
            found = [v for s in timed if (v := getattr(s, field)) is not None]
            if not found:
                reason = self._unread(field) if timed or not self._samples else why
                unread.update(dict.fromkeys(names, reason))
            return found

        bits = [int(v) for v in values("throttle", *_THROTTLE)]
        clocks = values("sm_clock_mhz", "clock_mhz", "clock_low_mhz")
        memory_clocks = values("memory_clock_mhz", "memory_clock_mhz")
        heat = values("temperature_celsius", "temperature_celsius")
        watts = values("power_watts", "power_watts")
        default = self._facts.default_clock if self._facts else None
        if default is None:
            reasons = self._facts.unread if self._facts else {}
            unread["default_clock_mhz"] = reasons.get("default_clock", "not asked")
        peak, no_peak = self._owners.foreign_peak() if self._told else (None, "")
        if not self._told:
            unread["foreign"] = self._unread("processes")
        if peak is None:
            unread["foreign_peak_bytes"] = no_peak or self._unread("processes")
        return GpuConditions(
            samples=len(self._samples),
            timed_samples=len(timed),
            slowdowns=_slowdowns(bits),
            slowed_share=_share([bool(in_words(b)) for b in bits]),
            power_capped_share=_share([bool(b & POWER_CAP) for b in bits]),
            clock_mhz=median(clocks) if clocks else None,
            clock_low_mhz=min(clocks, default=None),
            default_clock_mhz=default,
            memory_clock_mhz=median(memory_clocks) if memory_clocks else None,
            temperature_celsius=max(heat, default=None),
            power_watts=sum(watts) / len(watts) if watts else None,
            foreign=self._owners.foreign(graphics=False),
            foreign_graphics=self._owners.foreign(graphics=True),
            foreign_peak_bytes=peak,
            process_source=self.process_source,
            lost=self.lost,
            unread=unread,
        )

    def _unread(self, field: str) -> str:
        reason = self._samples[-1].unread.get(field) if self._samples else None
        return reason or self.reason or ("not told" if self._samples else "no sample was taken")


def _slowdowns(bits: Sequence[int]) -> tuple[str, ...]:
    every = 0
    for one in bits:
        every |= one
    return in_words(every)


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


SLOWED_SHARE = 0.1  # of the timed samples
CLOCK_SHARE = 0.75  # of the default clock
CAPPED_SHARE = 0.5  # of the timed samples: then the power limit explains a low clock
_NAMED = 4  # foreign processes by name; the others are counted


def disturbances(conditions: GpuConditions | None) -> tuple[str, ...]:
    """One line for each thing that spoiled the trial; nothing if nothing did.

    A power cap alone is usual under full load, and a process that only draws is noted in the
    record: neither is one. What the driver does not report cannot be one.
    """
    if conditions is None:
        return ()
    found = []
    if conditions.lost:
        found.append(f"the GPU was lost ({conditions.lost})")
    share = conditions.slowed_share
    if share is not None and share > SLOWED_SHARE:
        reasons = ", ".join(conditions.slowdowns)
        found.append(f"slowed down in {100 * share:.0f} % of the timed samples: {reasons}")
    clock, default = conditions.clock_mhz, conditions.default_clock_mhz
    # Under its power limit a card runs as slowly as it must: that is no disturbance.
    capped = (conditions.power_capped_share or 0) > CAPPED_SHARE
    if clock is not None and default and clock < CLOCK_SHARE * default and not capped:
        found.append(
            f"clock at {clock:.0f} MHz, less than {100 * CLOCK_SHARE:.0f} % of its {default:.0f}"
        )
    if conditions.foreign:
        named = ", ".join(conditions.foreign[:_NAMED])
        more = len(conditions.foreign) - _NAMED
        rest = f" and {more} more" if more > 0 else ""
        found.append(f"other processes computed on the GPU: {named}{rest}")
    return tuple(found)
