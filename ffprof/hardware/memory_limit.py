"""MemoryLimit PyTorch's CUDA allocator to what a card leaves of its memory.

What CUDA offers on the card is shared by the allocator and by everything outside it: context,
kernels of libraries, a desktop. That part, the debit, is taken off first; the rest is the
allocator's limit. The limit is set before the first step, from what is known by then, and made
smaller if the first whole step shows that more is taken (``ffprof.harness.budget``).

Some drivers use host memory when the GPU is full, instead of failing: under Windows, and under
WSL, which uses Windows' driver, an allocation that does not fit is moved to the host's memory by
default (NVIDIA's "CUDA - Sysmem Fallback Policy", since driver 536.40). Trials then become slow
instead of running out of memory.

torch is imported inside functions: the parent makes a ``MemoryLimit`` and never imports it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ffprof.units import MIB, format_bytes


@dataclass(frozen=True, kw_only=True)
class MemoryLimit:
    """What one process may take of the GPU.

    ``total_bytes`` is what CUDA offers on the card, a desktop's part left out; ``counted_bytes``
    what is known beforehand to be taken in addition to the allocator. ``limited`` is false where
    the card itself is the limit, or where the figures without a limit are wanted; then the debit is
    measured and nothing is held. ``words`` name the budget to people, such as
    ``8GB (GeForce RTX 5050)``.
    """

    total_bytes: int
    words: str
    counted_bytes: int = 0
    limited: bool = True


def limit_allocator(limit_bytes: int) -> None:
    """Let the allocator of this process reserve so much on the current device, and no more.

    More than the device has is no limit. What is reserved already is kept, so free what can be
    freed before.
    """
    import torch

    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, max(0, limit_bytes) / total))


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How memory stood when it ran out, in bytes: of the allocator, outside it, of the device."""

    reserved_bytes: int
    debit_bytes: int
    free_bytes: int
    device_bytes: int
    limit_bytes: int | None  # of the allocator; None without one


_UNSURE = 64 * MIB  # by which figures of different moments may disagree


@dataclass(frozen=True, kw_only=True)
class RanOut:
    """Why memory ran out, in words; ``others`` on the GPU, or the workload itself."""

    text: str
    others: bool


def out_of_memory(hold: MemoryLimit, told: str, now: Moment) -> RanOut:
    """What to say when memory ran out: the budget and the card, not the GPU beneath.

    ``told`` is in torch's own words, which name the real GPU. Where a library names no size, others
    are to blame if the GPU is full, and not of what is known to be this process's.
    """
    asked = _asked(told)
    wanted = "" if asked is None else f"{format_bytes(asked)} more "
    known = now.reserved_bytes + now.debit_bytes + now.free_bytes
    strange = known < now.device_bytes - _UNSURE
    if now.limit_bytes is None:
        others, total = strange, now.device_bytes
    else:
        total = hold.total_bytes
        if asked is None:
            others = strange and now.free_bytes < _UNSURE
        else:
            others = now.reserved_bytes + asked <= now.limit_bytes
    if others:
        return RanOut(
            others=True,
            text=f"out of memory below the budget of {hold.words}: {wanted}could not be allocated, "
            f"and "
            f"the GPU itself had {format_bytes(now.free_bytes)} left; something else is on it",
        )
    left = max(0, total - now.debit_bytes)
    return RanOut(
        others=False,
        text=f"out of memory: {wanted}{'do' if wanted else 'it does'} not fit the budget of "
        f"{hold.words}; CUDA offers {format_bytes(total)}, context and libraries take "
        f"{format_bytes(now.debit_bytes)}, which leaves {format_bytes(left)}",
    )


_TRIED = re.compile(r"Tried to allocate (\d+(?:\.\d+)?) (bytes|[KMGT]iB)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _asked(told: str) -> int | None:
    """Bytes of the request that failed, as torch's message spells them (c10/core/Allocator)."""
    match = _TRIED.search(told)
    return int(float(match[1]) * _UNITS[match[2]]) if match else None


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
