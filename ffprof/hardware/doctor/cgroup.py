"""Limits that a control group sets: processors and memory; version 1, version 2, or both.

A limit of any ancestor holds too, so all folders from the process's own up to the mount are read
and the tightest wins. In a container the path in /proc/self/cgroup may be the host's, of which the
mount shows only the end; folders that do not exist are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ffprof.hardware.doctor.procfs import parse_int, read_int, read_text

# Version 1 writes "no limit" as the largest number that pages allow.
_UNLIMITED = 1 << 60


@dataclass(frozen=True, kw_only=True)
class Limits:
    """None means no limit, or none that can be read."""

    cpus: float | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None


def parse_cpu_max(text: str) -> float | None:
    """CPUs of version 2's ``cpu.max`` (``150000 100000`` is 1.5); None for ``max`` or garbage."""
    words = text.split()
    if len(words) != 2:
        return None
    return _quota(parse_int(words[0]), parse_int(words[1]))


def parse_cgroup(text: str) -> dict[str, str]:
    """Path by controller from /proc/self/cgroup; version 2's path has the empty name."""
    found = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                found[controller] = parts[2]
    return found


def read_limits(root: Path) -> Limits:
    """The limits of this process, as /proc/self/cgroup and /sys/fs/cgroup under ``root`` tell."""
    paths = parse_cgroup(read_text(root / "proc/self/cgroup") or "")
    mount = root / "sys/fs/cgroup"
    quotas, memories = [], []
    for folder in _upwards(mount, paths.get("", "/")):
        quotas.append(parse_cpu_max(read_text(folder / "cpu.max") or ""))
        memories.append(
            (read_int(folder / "memory.max"), read_int(folder / "memory.current")),
        )
    for folder in _upwards(mount / "cpu", paths.get("cpu", "/")):
        quotas.append(
            _quota(read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us"))
        )
    for folder in _upwards(mount / "memory", paths.get("memory", "/")):
        memories.append(
            (
                read_int(folder / "memory.limit_in_bytes"),
                read_int(folder / "memory.usage_in_bytes"),
            )
        )
    limited = [(limit, used) for limit, used in memories if limit is not None]
    memory, used = min(limited, key=lambda pair: pair[0], default=(None, None))
    if memory is not None and memory >= _UNLIMITED:
        memory, used = None, None
    return Limits(
        cpus=min((q for q in quotas if q is not None), default=None),
        memory_bytes=memory,
        memory_used_bytes=used,
    )


def _quota(quota: int | None, period: int | None) -> float | None:
    return quota / period if quota and period else None


def _upwards(mount: Path, inside: str) -> Iterator[Path]:
    """The folder of a path inside the mount, then its ancestors up to the mount itself."""
    names = [name for name in inside.split("/") if name not in ("", ".", "..")]
    for length in range(len(names), -1, -1):
        yield mount.joinpath(*names[:length])
