"""What the parent sees of the GPU while one trial runs, by NVML at 10 Hz at most."""

from __future__ import annotations

import time
from typing import Any

from ffprof.audit.guard import Guard, own_processes
from ffprof.audit.messages import Finished, Ready
from ffprof.instruments.nvml import GpuLostError, NvmlError, Watch, disturbances
from ffprof.record import Conditions, Energy, GpuConditions, Memory

LOST_SECONDS = 10.0  # that a trial is given to end by itself when its GPU is gone


class GpuGoneError(Exception):
    """The GPU was lost, and the trial on it does not end by itself."""


class Watching:
    """Samples from the child's ``Ready`` to its answer; without NVML, the reason why not."""

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard
        self._watch: Watch | None = None
        self._sampling = False
        self._lost_at: float | None = None
        self._timed: tuple[float, float] | None = None
        self._images: int | None = None
        self.reason = "not a GPU" if guard is None else guard.reason

    def on_message(self, pid: int, message: Any) -> None:
        """Begin at ``Ready`` with a GPU, take a last sample at the answer."""
        guard = self._guard
        if isinstance(message, Ready):
            if message.gpu_uuid is None or guard is None or guard.gpu is None:
                return
            self._watch = Watch(pid, gpu=guard.gpu, own=own_processes)
            self._sampling = True
        elif self._sampling:
            self._sample()
            self._sampling = False
        if isinstance(message, Finished):
            self._timed, self._images = message.report.timed, message.report.images

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
        try:
            self._watch.take(self._guard.gpu.sample())
        except GpuLostError as error:
            self._watch.failed(error)
            self._lost_at = self._lost_at or time.monotonic()
        except NvmlError as error:
            self._watch.failed(error)

    def memory(self, memory: Memory) -> Memory:
        """The memory figures with NVML's peaks, or the reason why there are none."""
        watch, unread = self._watch, {}
        process = watch.process_peak_bytes if watch else None
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

    def gpu(self) -> GpuConditions | None:
        """How the GPU was; None on a CPU or without NVML."""
        return self._watch.conditions(self._timed) if self._watch else None

    def energy(self) -> Energy | None:
        """Of the timed phase; None where it could not be read."""
        if self._watch is None or self._timed is None or not self._images:
            return None
        idle = self._guard.idle_watts if self._guard else None
        found, _ = self._watch.energy(self._timed, self._images, idle)
        return found

    def add_to(self, conditions: Conditions) -> Conditions:
        """The conditions with what was seen of the GPU, and what of it spoils the figures."""
        seen = self.gpu()
        if seen is None:
            return conditions
        known = self._guard.known if self._guard else frozenset()
        return conditions.model_copy(
            update={
                "gpu": seen,
                "nvml_samples": seen.samples,
                "disturbances": disturbances(seen, known),
            }
        )
