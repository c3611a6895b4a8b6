"""Drivers that use host memory when the GPU is full, instead of failing.

Under Windows, and under WSL, which uses Windows' driver, an allocation that does not fit is moved
to the host's memory by default (NVIDIA's "CUDA - Sysmem Fallback Policy", since driver 536.40):
trials become slow instead of running out of memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

# nvmlDriverModel_t of nvml.h: a GPU that drives no display may be in TCC mode, where memory is not
# Windows' own to move.
TCC = 1
_TOLD_BY = ("proc/version", "proc/sys/kernel/osrelease")


def spills(root: Path = Path("/")) -> str:
    """Why this machine's driver spills to host memory; empty if nothing says that it does."""
    return why_spilling(sys.platform, is_wsl(root))


def why_spilling(platform: str, wsl: bool, driver_model: int | None = None) -> str:
    """As ``spills``, from ``sys.platform`` and NVML's driver model where that is known."""
    if wsl:
        return "WSL: its driver is that of Windows"
    if platform == "win32" and driver_model != TCC:
        return "Windows: memory of the GPU is the system's to move"
    return ""


def is_wsl(root: Path = Path("/")) -> bool:
    """Whether the kernel, seen from a container too, is the one of the Windows Subsystem."""
    for name in _TOLD_BY:
        try:
            text = (root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if "microsoft" in text.lower():
            return True
    return (root / "usr/lib/wsl").exists()
