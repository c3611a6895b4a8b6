"""The host as the kernel describes it under /proc, /sys and /dev of a root folder.

What is absent or garbled in the kernel's small text files is None, never an error.

Control groups, version 1, version 2 or both, limit processors and memory. A limit of any ancestor
holds too, so all folders from the process's own up to the mount are read and the tightest wins. In
a container the path in /proc/self/cgroup may be the host's, of which the mount shows only the end;
folders that do not exist are passed over.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ffprof.hardware.doctor.facts import HostFacts, OutputFacts
from ffprof.hardware.machine import usable_cpus
from ffprof.hardware.memory_limit import is_wsl

_LARGEST_CPU = 1 << 16  # no machine has more; a garbled list must not fill the memory


def read_text(path: Path) -> str | None:
    """The stripped text of a file; None if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The number in a file; None if there is none."""
    return parse_int(read_text(path))


def parse_int(text: str | None) -> int | None:
    """A decimal number of at most 19 digits; None for anything else."""
    word = (text or "").strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 19 else None


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name, from /proc/meminfo, which counts in kB of 1024 bytes; proc(5)."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        value = parse_int(words[0]) if len(words) == 2 and words[1] == "kB" else None
        if value is not None:
            found[name.strip()] = value * 1024
    return found


def parse_cpu_list(text: str) -> frozenset[int] | None:
    """The processors of a list such as ``0-3,8,10-11``; None if it is not one."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        low = parse_int(first)
        high = parse_int(last) if dash else low
        if low is None or high is None or not low <= high < _LARGEST_CPU:
            return None
        found.update(range(low, high + 1))
    return frozenset(found)


def has_cpu_flag(cpuinfo: str, flag: str) -> bool | None:
    """Whether the first processor of /proc/cpuinfo has a flag; None where no flags are listed."""
    for line in cpuinfo.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return flag in flags.split()
    return None


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


_NVIDIA = "0x10de"  # NVIDIA's vendor number on the PCI bus
_DISPLAY_CLASS = "0x03"  # of the PCI classes, what controls displays; GPUs without one too


def read_host(root: Path = Path("/")) -> HostFacts:
    """What is true of the host now."""
    memory = parse_meminfo(read_text(root / "proc/meminfo") or "")
    swap, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
    limits = read_limits(root)
    shm, shm_free = _room(root / "dev/shm")
    cpu = root / "sys/devices/system/cpu"
    present = parse_cpu_list(read_text(cpu / "present") or "")
    allowed = parse_cpu_list(_status(root, "Cpus_allowed_list"))
    return HostFacts(
        platform=sys.platform,
        wsl=is_wsl(root),
        nvidia_module=(root / "proc/driver/nvidia/version").exists(),
        nouveau=(root / "sys/module/nouveau").exists(),
        nvidia_devices=tuple(sorted(p.name for p in (root / "dev").glob("nvidia*"))),
        nvidia_on_pci=_nvidia_on_pci(root),
        ram_bytes=memory.get("MemTotal"),
        ram_available_bytes=memory.get("MemAvailable"),
        swap_bytes=swap,
        swap_used_bytes=None if swap is None or swap_free is None else max(0, swap - swap_free),
        shm_bytes=shm,
        shm_free_bytes=shm_free,
        memory_limit_bytes=limits.memory_bytes,
        memory_used_bytes=limits.memory_used_bytes,
        cpu_quota=limits.cpus,
        cpus=len(present) if present else os.cpu_count(),
        allowed_cpus=len(allowed) if allowed else None,
        physical_cpus=psutil.cpu_count(logical=False),
        usable_cpus=usable_cpus(),
        governors=_governors(cpu),
        frequency_driver=read_text(cpu / "cpu0/cpufreq/scaling_driver") or "",
        energy_preference=read_text(cpu / "cpu0/cpufreq/energy_performance_preference") or "",
        frequency_cap=_frequency_cap(cpu),
        turbo=_turbo(cpu),
        hypervisor=has_cpu_flag(read_text(root / "proc/cpuinfo") or "", "hypervisor"),
        on_battery=_on_battery(),
        clocksource=read_text(
            root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
        )
        or "",
        timer_resolution_seconds=time.get_clock_info("perf_counter").resolution,
        timer_cost_seconds=_timer_cost(),
    )


def read_output(folder: Path) -> OutputFacts:
    """Room in the folder that results go to, or where it would be made."""
    existing = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
    if not existing.is_dir():
        return OutputFacts(folder=str(folder), problem=f"{existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        return OutputFacts(folder=str(folder), problem=f"{existing} cannot be written to")
    return OutputFacts(folder=str(folder), free_bytes=_room(existing)[1])


def _room(folder: Path) -> tuple[int | None, int | None]:
    """Size of a file system and what is free of it for us."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None, None
    return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail


def _status(root: Path, name: str) -> str:
    for line in (read_text(root / "proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def _nvidia_on_pci(root: Path) -> int:
    return sum(
        read_text(device / "vendor") == _NVIDIA
        and (read_text(device / "class") or "").startswith(_DISPLAY_CLASS)
        for device in (root / "sys/bus/pci/devices").glob("*")
    )


def _governors(cpu: Path) -> tuple[str, ...]:
    found = {read_text(path) for path in cpu.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return tuple(sorted(name for name in found if name))


def _frequency_cap(cpu: Path) -> float | None:
    now = read_int(cpu / "cpu0/cpufreq/scaling_max_freq")
    most = read_int(cpu / "cpu0/cpufreq/cpuinfo_max_freq")
    return now / most if now and most else None


def _turbo(cpu: Path) -> bool | None:
    off = read_int(cpu / "intel_pstate/no_turbo")
    if off is not None:
        return off == 0
    boost = read_int(cpu / "cpufreq/boost")
    return None if boost is None else boost != 0


def _on_battery() -> bool | None:
    read = getattr(psutil, "sensors_battery", None)  # not on every system
    try:
        battery = read() if read else None
    except (OSError, RuntimeError):  # psutil lists a folder that may not be there
        return None
    return None if battery is None or battery.power_plugged is None else not battery.power_plugged


def _timer_cost(readings: int = 2000) -> float:
    """Seconds that one reading of the clock takes."""
    first = time.perf_counter()
    for _ in range(readings):
        last = time.perf_counter()
    return (last - first) / readings
