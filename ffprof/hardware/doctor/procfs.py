"""Readers of the kernel's small text files: what is absent or garbled is None, never an error."""

from __future__ import annotations

from pathlib import Path

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
