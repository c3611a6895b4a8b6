"""The settings of PyTorch's caching allocator, as ``PYTORCH_ALLOC_CONF`` writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ffprof.errors import UsageError
from ffprof.units import MIB

# Rounding and pools: c10/core/AllocatorConfig.h of torch 2.14 (kMinBlockSize, kSmallSize,
# kSmallBuffer, kMinLargeAlloc, kRoundLarge; older releases keep them in CUDACachingAllocator.cpp).
MIN_BLOCK_BYTES = 512
SMALL_BYTES = 1 * MIB
SMALL_SEGMENT_BYTES = 2 * MIB
MIN_LARGE_BYTES = 10 * MIB
LARGE_ROUND_BYTES = 2 * MIB
# large_segment_size_, settable since torch 2.11 or so, a constant (kLargeBuffer) before.
LARGE_SEGMENT_BYTES = 20 * MIB
# No limit: what std::numeric_limits<size_t>::max() is for them.
UNLIMITED = 2**64 - 1
# roundup_power2_divisions has one entry for each power of two from 1 MiB up to 64 GiB.
INTERVALS = 16

# Which of free blocks of one size is taken. Torch 2.14: that of the oldest segment, then the lowest
# (github.com/pytorch/pytorch/pull/183591). 2.12: the block that was made first, a split making one
# (pull/178362). 2.11: the lowest address. Each was looked at in that release; 2.13 was not.
Ties = Literal["segment", "block", "address"]

_KEYS = (
    "expandable_segments",
    "garbage_collection_threshold",
    "large_segment_size_mb",
    "max_non_split_rounding_mb",
    "max_split_size_mb",
    "roundup_power2_divisions",
)
_PAIR = re.compile(r"(\w+):(\[[^\[\]]*\]|[^,\[\]]+)")


def release_of(version: str) -> tuple[int, int]:
    """(2, 14) of a version of torch such as "2.14.1+cu130", and of what is none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (2, 14)


def ties_of(release: str) -> Ties:
    """The order of a version of torch such as "2.14.1+cu130".

    That of 2.13 is taken to be 2.11's, which its changes suggest.
    """
    version = release_of(release)
    if version == (2, 12):
        return "block"
    return "segment" if version >= (2, 14) else "address"


@dataclass(frozen=True, kw_only=True)
class AllocatorConfig:
    """How the allocator is set; the defaults are torch's.

    ``max_split_bytes``: blocks this large are never split. ``max_non_split_rounding_bytes``: how
    much larger than asked such a block may be. ``divisions``: in how many steps sizes between one
    power of two and the next are rounded up, one entry a power from 1 MiB; 0 and 1 are none.
    ``collection_threshold``: the part of the allowed bytes above which cached blocks are let go
    before more is taken; 0 is never.

    ``ties`` is no setting but the release's: see ``Ties``.
    """

    expandable_segments: bool = False
    max_split_bytes: int = UNLIMITED
    max_non_split_rounding_bytes: int = LARGE_SEGMENT_BYTES
    large_segment_bytes: int = LARGE_SEGMENT_BYTES
    divisions: tuple[int, ...] = (0,) * INTERVALS
    collection_threshold: float = 0.0
    ties: Ties = "segment"

    @classmethod
    def parse(cls, text: str, release: str = "") -> AllocatorConfig:
        """The settings of a text such as ``expandable_segments:True,max_split_size_mb:128``.

        White space is ignored, the last of equal keys counts. Only what decides sizes is known.
        ``release`` is torch's version, by default the newest.

        Raises:
            UsageError: a key that is unknown or not simulated, or a value torch would refuse.
        """
        given = dict(_pairs("".join(text.split())))
        segment = LARGE_SEGMENT_BYTES
        if "large_segment_size_mb" in given:
            segment = _mebibytes("large_segment_size_mb", given, MIN_LARGE_BYTES + MIB)
        rounding, split = segment, UNLIMITED
        if "max_non_split_rounding_mb" in given:
            rounding = _mebibytes("max_non_split_rounding_mb", given, segment)
        if "max_split_size_mb" in given:
            split = _mebibytes("max_split_size_mb", given, segment)
        return cls(
            expandable_segments=_true("expandable_segments", given),
            max_split_bytes=split,
            max_non_split_rounding_bytes=rounding,
            large_segment_bytes=segment,
            divisions=_divisions("roundup_power2_divisions", given),
            collection_threshold=_part("garbage_collection_threshold", given),
            ties=ties_of(release) if release else "segment",
        )

    def round(self, nbytes: int) -> int:
        """The size of the block that a request gets at the least, in bytes.

        Whole 512 B; or, with divisions, the next step between powers of two (round_size and
        roundup_power2_next_division in CUDACachingAllocator.cpp).
        """
        if nbytes >= MIN_BLOCK_BYTES:
            power = nbytes.bit_length() - 1
            divisions = self.divisions[min(max(power - 20, 0), INTERVALS - 1)]
            if divisions > 1 and nbytes > MIN_BLOCK_BYTES * divisions:
                step = (1 << power) // divisions
                return -(-nbytes // step) * step
        return max(-(-nbytes // MIN_BLOCK_BYTES), 1) * MIN_BLOCK_BYTES

    def segment_bytes(self, size: int) -> int:
        """What is taken from the device for a block of ``size`` (rounded) bytes."""
        if size <= SMALL_BYTES:
            return SMALL_SEGMENT_BYTES
        if size < MIN_LARGE_BYTES:
            return self.large_segment_bytes
        return -(-size // LARGE_ROUND_BYTES) * LARGE_ROUND_BYTES

    def text(self) -> str:
        """The settings as ``parse`` takes them; empty for the defaults."""
        parts = []
        if self.expandable_segments:
            parts.append("expandable_segments:True")
        if self.large_segment_bytes != LARGE_SEGMENT_BYTES:
            parts.append(f"large_segment_size_mb:{self.large_segment_bytes // MIB}")
        if self.max_split_bytes != UNLIMITED:
            parts.append(f"max_split_size_mb:{self.max_split_bytes // MIB}")
        if self.max_non_split_rounding_bytes != self.large_segment_bytes:
            parts.append(f"max_non_split_rounding_mb:{self.max_non_split_rounding_bytes // MIB}")
        if any(self.divisions):
            steps = ",".join(f"{1 << at}:{steps}" for at, steps in enumerate(self.divisions))
            parts.append(f"roundup_power2_divisions:[{steps}]")
        if self.collection_threshold:
            parts.append(f"garbage_collection_threshold:{self.collection_threshold!r}")
        return ",".join(parts)


def _pairs(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None or text[match.end() : match.end() + 1] not in ("", ","):
            raise UsageError(
                f"allocator settings {text!r} are not key:value pairs",
                "write them as PYTORCH_ALLOC_CONF takes them, such as expandable_segments:True",
            )
        if match[1] not in _KEYS:
            raise UsageError(
                f"allocator setting {match[1]!r} is not simulated",
                f"leave it out; simulated are {', '.join(_KEYS)}",
            )
        found.append((match[1], match[2]))
        at = match.end() + 1
    return found


def _refuse(key: str, value: str, wanted: str) -> UsageError:
    return UsageError(f"allocator setting {key}:{value} is not valid", f"give {wanted}")


def _whole(key: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", value):
        raise _refuse(key, value, "a whole number")
    return int(value)


def _mebibytes(key: str, given: dict[str, str], least: int) -> int:
    size = _whole(key, given[key]) * MIB
    if size < least:
        raise _refuse(key, given[key], f"{least // MIB} or more (MiB)")
    return size


def _true(key: str, given: dict[str, str]) -> bool:
    value = given.get(key, "False")
    if value not in ("True", "False"):
        raise _refuse(key, value, "True or False")
    return value == "True"


def _part(key: str, given: dict[str, str]) -> float:
    if key not in given:
        return 0.0
    try:
        part = float(given[key])
    except ValueError:
        part = 0.0
    if not 0 < part < 1:
        raise _refuse(key, given[key], "a part between 0 and 1")
    return part


def _divisions(key: str, given: dict[str, str]) -> tuple[int, ...]:
    """One number for all sizes, or a list ``[256:1,512:2,>:4]`` of MiB and steps.

    In a list the first entry holds for what is smaller, too, ``>`` for all powers above the last
    entry, and powers that are not named stay unrounded, as in torch.
    """
    value = given.get(key, "0")
    if not value.startswith("["):
        steps = _whole(key, value)
        if key in given and not _power_of_two(steps):
            raise _refuse(key, value, "a power of two")
        return (steps,) * INTERVALS
    divisions, last, first = [0] * INTERVALS, 0, True
    for pair in value[1:-1].split(","):
        boundary, _, steps_text = pair.partition(":")
        steps = _whole(key, steps_text)
        if steps and not _power_of_two(steps):
            raise _refuse(key, value, "powers of two, or 0")
        if boundary == ">":
            divisions[last + 1 :] = [steps] * (INTERVALS - last - 1)
            continue
        size = _whole(key, boundary)
        if not _power_of_two(size):
            raise _refuse(key, value, "powers of two")
        last = min(size.bit_length() - 1, INTERVALS - 1)
        if first:
            divisions[:last] = [steps] * last
            first = False
        divisions[last] = steps
    return tuple(divisions)


def _power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
