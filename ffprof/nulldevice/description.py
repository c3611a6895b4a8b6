"""The device as it is described to a child, and the variables that put the child on it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ffprof.errors import NullDeviceError
from ffprof.hardware.profile import Card
from ffprof.nulldevice.build import NAME, library
from ffprof.units import MIB

MOST_DEVICES = 16
# A likely process outside PyTorch's allocator, of which the context is the first part
# (ffprof/estimator/overhead.py has the sources): 160 MiB, and 90 MiB that cuBLAS and cuDNN load.
CONTEXT_BYTES = 160 * MIB
LIBRARY_BYTES = 45 * MIB
FILE = "device"
VARIABLE = "FFPROF_NULL_DEVICE"


@dataclass(frozen=True, kw_only=True)
class NullDevice:
    """A GPU to be stood in for.

    ``total_bytes`` is what cudaMemGetInfo calls the total and ``nvml_bytes`` what NVML does (0:
    the same). A process takes ``context_bytes`` when it first uses the device, and
    ``library_bytes`` when it first uses cuBLAS, and again for cuDNN and each other library.
    ``count`` is how many such devices there are. ``nonzero_share`` is the share of elements that
    count as true where a kernel would have to look.
    """

    name: str
    total_bytes: int
    context_bytes: int
    library_bytes: int
    capability: tuple[int, int]
    multiprocessors: int
    threads_per_multiprocessor: int
    count: int = 1
    driver: str = "580.00"
    nvml_bytes: int = 0
    nonzero_share: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST_DEVICES:
            raise NullDeviceError(
                f"{self.count} null devices cannot be made", f"use 1 to {MOST_DEVICES}"
            )
        if not self.name.isprintable() or not 0 < len(self.name) < 120:
            raise NullDeviceError("a null device needs a name of one printable line", "name it")
        if not 0 <= self.context_bytes < self.total_bytes:
            raise NullDeviceError(
                "a null device with less memory than its context takes holds nothing",
                "give it more memory",
            )

    @classmethod
    def of_card(cls, card: Card, **changes: Any) -> Self:
        """The device of a card's profile; ``changes`` are fields that shall be otherwise."""
        made = cls(
            name=f"NVIDIA {card.name}",
            total_bytes=card.cuda_total_bytes,
            nvml_bytes=card.nvml_total_bytes,
            context_bytes=CONTEXT_BYTES,
            library_bytes=LIBRARY_BYTES,
            capability=card.compute_capability,
            multiprocessors=card.sm_count,
            threads_per_multiprocessor=threads_per_multiprocessor(card.compute_capability),
        )
        return replace(made, **changes)


def threads_per_multiprocessor(capability: tuple[int, int]) -> int:
    """The most that are resident at once (CUDA C++ Programming Guide, table of capabilities)."""
    if capability == (7, 5):
        return 1024
    return 1536 if capability in ((8, 6), (8, 7), (8, 9)) or capability >= (12, 0) else 2048


# What would hide the device, or has PyTorch do without its allocator.
_HIDING = ("CUDA_VISIBLE_DEVICES", "PYTORCH_NO_CUDA_MEMORY_CACHING")


def inherited() -> dict[str, str]:
    """The variables of this process that a child on a null device may have, too."""
    return {name: value for name, value in os.environ.items() if name not in _HIDING}


def environment(device: NullDevice, folder: Path) -> dict[str, str]:
    """The variables that a child needs to run on ``device``, beside those that it has.

    ``folder`` gets the description, what processes share and what they count; it must outlive
    them, and processes that have the same one share the device's memory.

    Raises:
        NullDeviceError: the device cannot be built (``library``), or the folder not be written.
    """
    built = library()
    lines = {
        "name": device.name,
        "driver": device.driver,
        "total_bytes": device.total_bytes,
        "nvml_bytes": max(device.nvml_bytes, device.total_bytes),
        "context_bytes": device.context_bytes,
        "library_bytes": device.library_bytes,
        "major": device.capability[0],
        "minor": device.capability[1],
        "multiprocessors": device.multiprocessors,
        "threads_per_multiprocessor": device.threads_per_multiprocessor,
        "count": device.count,
        "nonzero_share": device.nonzero_share,
    }
    path = folder.resolve() / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    except OSError as error:
        raise NullDeviceError(
            f"{folder} cannot hold a null device: {error.strerror or error}",
            "name a folder that you may write to",
        ) from error
    searched = os.environ.get("LD_LIBRARY_PATH")
    loaded = os.environ.get("LD_PRELOAD")
    return {
        "LD_PRELOAD": ":".join([str(built / NAME), *([loaded] if loaded else [])]),
        "LD_LIBRARY_PATH": ":".join([str(built), *([searched] if searched else [])]),
        VARIABLE: str(path),
    }


def is_in_use() -> bool:
    """Whether this process, and what it starts, has a null device in the place of a GPU."""
    return bool(os.environ.get(VARIABLE))
