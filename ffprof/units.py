"""Sizes and times: parsed strictly, printed in one way.

Stored sizes are integer bytes and stored times float seconds. Printed sizes are MiB or GiB,
binary, because that is what CUDA's tools count in.
"""

from __future__ import annotations

import math
import re

from ffprof.errors import UsageError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]i?B|B)\s*", re.IGNORECASE | re.ASCII)
_FACTORS = {"b": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1024 * GIB}


def parse_size(text: str) -> int:
    """Bytes of a size such as ``8GB``, ``7.63GiB`` or ``8188MiB``.

    GPU memory is sold in binary units written as decimal ones, so GB and GiB mean the same
    here: 8GB is 8 x 1024^3 bytes.

    Raises:
        UsageError: not a size, or not a positive one.
    """
    match = _SIZE.fullmatch(text)
    fix = "write a positive size with its unit, such as 8GB or 7900MiB"
    if match is None:
        raise UsageError(f"{text!r} is not a memory size", fix)
    size = int(float(match.group(1)) * _FACTORS[match.group(2)[0].lower()])
    if size <= 0:
        raise UsageError(f"{text!r} is not a positive memory size", fix)
    return size


def format_bytes(size: int | None) -> str:
    """A size for people: ``412 B``, ``3.21 MiB``, ``4.18 GiB``; ``-`` for None."""
    if size is None:
        return "-"
    if abs(size) < KIB:
        return f"{size} B"
    for factor, unit in ((GIB, "GiB"), (MIB, "MiB")):
        if abs(size) >= factor:
            return f"{_three_digits(size / factor)} {unit}"
    return f"{_three_digits(size / KIB)} KiB"


def format_seconds(seconds: float) -> str:
    """A duration for people: ``4 s``, ``1 min 05 s``, ``2 h 10 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_rate(rate: float | None) -> str:
    """Images per second with three significant digits, never fewer than the whole number."""
    return "-" if rate is None else _three_digits(rate)


def format_about(rate: float | None) -> str:
    """An estimated rate: ``~159``, so that it does not look exact."""
    return "-" if rate is None else f"~{format_rate(rate)}"


def format_ratio(ratio: float) -> str:
    """A ratio such as ``3.9x``, ``0.97x`` or ``12x``."""
    return f"{ratio:.2f}x" if 0.1 <= ratio < 10 else f"{_three_digits(ratio)}x"


def _three_digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, min(digits, 4))}f}"
