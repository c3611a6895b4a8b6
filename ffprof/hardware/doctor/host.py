"""The host as the kernel describes it under /proc, /sys and /dev of a root folder."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil

from ffprof.hardware.doctor.cgroup import read_limits
from ffprof.hardware.doctor.facts import HostFacts, OutputFacts
from ffprof.hardware.doctor.procfs import (
    has_cpu_flag,
    parse_cpu_list,
    parse_meminfo,
    read_int,
    read_text,
)
from ffprof.hardware.machine import usable_cpus
from ffprof.hardware.spill import is_wsl

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
