"""The allocator's peaks of the first step and of later ones, unseen by the script.

PyTorch has one peak, which is reset at the end of the first step. What the script itself asks for
and resets is as if nobody else had: what was reset here is added to what it is told.
"""

from __future__ import annotations

from typing import Any

from ffprof.nulldevice.script.report import DevicePeaks

_ALLOCATED, _RESERVED = "allocated_bytes", "reserved_bytes"
_Stats = dict[str, Any]


class Peaks:
    """Of every device of this process."""

    def __init__(self) -> None:
        self._cold: dict[int, _Stats] = {}
        self._steady: dict[int, tuple[int, int]] = {}
        self._before: dict[int, _Stats] = {}  # that the script has not reset, and we have
        self._retries: dict[int, int] = {}
        self._first = True

    def install(self) -> None:
        """Stand between the script and the allocator's figures."""
        import torch

        self._read = torch._C._cuda_memoryStats
        self._reset = torch._C._cuda_resetPeakMemoryStats

        def told(device: int) -> _Stats:
            return _highest(self._read(device), self._before.get(device))

        def reset(device: int) -> None:
            self.take(device)
            self._before.pop(device, None)
            self._reset(device)

        torch._C._cuda_memoryStats = told
        torch._C._cuda_resetPeakMemoryStats = reset

    def counts(self, device: int) -> tuple[int, int]:
        """Requests and releases so far."""
        found = self._read(device)["allocation"]["all"]
        return found["allocated"], found["freed"]

    def held(self, device: int) -> tuple[int, int]:
        """Allocated and reserved bytes now."""
        stats = self._read(device)
        return stats[_ALLOCATED]["all"]["current"], stats[_RESERVED]["all"]["current"]

    def take(self, device: int) -> None:
        """Keep the peaks since the last reset."""
        stats = self._read(device)
        if self._first:
            self._cold[device] = _highest(stats, self._cold.get(device))
            return
        known = self._steady.get(device, (0, 0))
        now = (stats[_ALLOCATED]["all"]["peak"], stats[_RESERVED]["all"]["peak"])
        self._steady[device] = (max(known[0], now[0]), max(known[1], now[1]))

    def end_first_step(self) -> None:
        """What comes now is steady."""
        import torch

        for device in range(torch.cuda.device_count()):
            self.take(device)
            stats = self._read(device)
            self._retries[device] = stats["num_alloc_retries"]
            self._before[device] = _highest(stats, self._before.get(device))
            self._reset(device)
        self._first = False

    def told(self) -> tuple[DevicePeaks, ...]:
        """Those of all devices that hold or held anything."""
        import torch

        found = []
        for device in range(torch.cuda.device_count()):
            self.take(device)
            cold, steady = self._cold.get(device), self._steady.get(device)
            first = tuple(cold[n]["all"]["peak"] if cold else 0 for n in (_ALLOCATED, _RESERVED))
            if not first[1] and not (steady and steady[1]):
                continue
            retries = self._read(device)["num_alloc_retries"]
            found.append(
                DevicePeaks(
                    device=device,
                    cold_allocated=first[0],
                    cold_reserved=first[1],
                    allocated=steady and steady[0],
                    reserved=steady and steady[1],
                    retries=retries,
                    steady_retries=retries - self._retries.get(device, retries),
                )
            )
        return tuple(found)


def _highest(stats: _Stats, before: _Stats | None) -> _Stats:
    """The same figures, with the higher of both wherever there is a peak."""
    if before is None:
        return stats
    return {name: _merged(name, value, before.get(name)) for name, value in stats.items()}


def _merged(name: str, value: Any, before: Any) -> Any:
    if isinstance(value, dict) and isinstance(before, dict):
        return {one: _merged(one, inner, before.get(one)) for one, inner in value.items()}
    return max(value, before) if name == "peak" and before is not None else value
