"""What the parent sees of the GPU while one trial runs, by NVML at 10 Hz at most."""

from __future__ import annotations

import time
from typing import Any

from ffprof.harness.process.guard import UNLISTED, Guard
from ffprof.harness.process.messages import EpochDone, Finished, TrialStart
from ffprof.instruments.nvml import Watch, disturbances
from ffprof.instruments.nvml.energy import total_energy
from ffprof.records.audit import Conditions, Energy, Memory

# The reason for which what ran out of memory says nothing of the workload.
OTHERS = "others are on the GPU"
# How a disturbance begins that another trial would have, too.
LASTING = "others were on the GPU from the beginning"
LOST_SECONDS = 10.0  # that a trial is given to end by itself when its GPU is gone


class GpuGoneError(Exception):
    """The GPU was lost, and the trial on it does not end by itself."""


class Watching:
    """Samples from the child's ``TrialStart`` to its answer; without NVML, the reason why not."""

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard
        self._watch: Watch | None = None
        self._sampling = False
        self._lost_at: float | None = None
        self._timed: list[tuple[float, float, int]] = []  # from, to, images
        self._part_only = False
        self.reason = "not a GPU" if guard is None else guard.reason

    def on_message(self, pid: int, message: Any) -> None:
        """Begin at ``TrialStart`` with a GPU, take a last sample at the answer."""
        guard = self._guard
        if isinstance(message, TrialStart):
            if message.gpu_uuid is None or guard is None or guard.gpu is None:
                return
            guard.ours.add(pid)
            self._watch = Watch(pid, guard.last, facts=guard.facts)
            self._sampling = True
        elif self._sampling:
            self._sample()
            self._sampling = isinstance(message, EpochDone)
        if isinstance(message, Finished) and message.report.timed and message.report.images:
            self._timed = [(*message.report.timed, message.report.images)]
        elif isinstance(message, EpochDone) and message.timed:
            self._timed.append((*message.timed, message.epochs[-1].images))
        elif isinstance(message, EpochDone):
            self._part_only = message.restored

    def take(self) -> None:
        """One sample, while there is something to sample.

        Raises:
            GpuGoneError: the GPU has been gone for a while.
        """
        if self._sampling:
            self._sample()
        if self._lost_at is not None and time.monotonic() - self._lost_at > LOST_SECONDS:
            raise GpuGoneError("the GPU is gone")

    def _sample(self) -> None:
        if self._watch is None or self._guard is None or self._guard.gpu is None:
            return
        self._watch.take_from(self._guard.gpu)
        if self._watch.lost and self._lost_at is None:
            self._lost_at = time.monotonic()

    @property
    def process_peak_bytes(self) -> int | None:
        """The most that NVML saw of the process; None where it did not."""
        return self._watch.process_peak_bytes if self._watch else None

    def memory(self, memory: Memory) -> Memory:
        """The memory figures with NVML's peaks, or the reason why there are none."""
        watch, unread = self._watch, {}
        process = self.process_peak_bytes
        device = watch.device_peak_bytes if watch else None
        if process is None:
            unread["process_peak_bytes"] = watch.process_reason() if watch else self.reason
        if device is None:
            unread["device_peak_bytes"] = watch.device_reason() if watch else self.reason
        return memory.model_copy(
            update={
                "process_peak_bytes": process,
                "device_peak_bytes": device,
                "unread": {**memory.unread, **unread},
            }
        )

    def strangers(self) -> tuple[str, ...]:
        """Processes of others that were seen to compute on the GPU while this ran, by name."""
        return self._watch.conditions(None, None).foreign if self._watch else ()

    def energy(self) -> Energy | None:
        """Of the timed phase; None where it could not be read, which ``add_to`` explains."""
        return self._energy()[0]

    def _energy(self) -> tuple[Energy | None, str]:
        if self._watch is None or not self._timed:
            return None, ""
        if self._part_only:
            return None, "it was resumed: only a part of the run was seen"
        idle = self._guard.idle_watts if self._guard else None
        found = [self._watch.energy(*one, idle) for one in self._timed]
        return total_energy([one for one, _ in found]), next((r for _, r in found if r), "")

    def add_to(self, conditions: Conditions) -> Conditions:
        """The conditions with what was seen of the GPU, and what of it spoils the figures."""
        if self._watch is None:
            return conditions
        ends = (self._timed[0][0], self._timed[-1][1]) if self._timed else (None, None)
        seen = self._watch.conditions(*ends)
        remark = self._energy()[1]
        if remark:
            seen = seen.model_copy(update={"unread": {**seen.unread, "energy": remark}})
        known = self._guard.known if self._guard else frozenset()
        before = tuple(one for one in seen.foreign if any(f"({pid})" in one for pid in known))
        strange = tuple(one for one in seen.foreign if one not in before)
        told = disturbances(seen.model_copy(update={"foreign": strange}))
        if before or (UNLISTED in known and not seen.foreign):
            told = (*told, f"{LASTING}: {', '.join(before[:4]) or 'what is not listed'}")
        return conditions.model_copy(
            update={"gpu": seen, "nvml_samples": seen.samples, "disturbances": told}
        )
