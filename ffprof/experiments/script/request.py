"""What is asked about a script, and the device that it is run on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ffprof.errors import UsageError
from ffprof.estimator.api import allocator_settings
from ffprof.estimator.cuda.workspaces import WorkspaceModel
from ffprof.estimator.fit import ABOVE, BELOW
from ffprof.estimator.overhead import (
    ASSUMED_CAPABILITY,
    Overhead,
    cuda_version,
    process_overhead,
)
from ffprof.estimator.target import check_room, target_for, with_display
from ffprof.experiments.options import check_seconds, choose_budget
from ffprof.hardware.profile import Card
from ffprof.nulldevice import NullDevice
from ffprof.nulldevice.description import MOST_DEVICES, threads_per_multiprocessor
from ffprof.nulldevice.installation import find_installation

MOST_STEPS = 10_000
# Of a size that no profiled card has: those of a card of the assumed compute capability 8.6, an
# RTX 3070 (NVIDIA Ampere GA102 whitepaper, table 2). They decide sizes of scratch memory.
_MULTIPROCESSORS = 46
NO_LIMIT = 2**40  # bytes; no card has as many


@dataclass(frozen=True, kw_only=True)
class ScriptRequest:
    """A command and the card it is meant for; ``time_limit`` is of one run, in seconds.

    ``capacity`` is what the allocator may take, as bytes; None: what a process leaves of the card.
    ``cards`` is how many such cards there are. ``shown`` is what the record calls the command, if
    not by its own words.
    """

    command: tuple[str, ...]
    shown: tuple[str, ...] = ()
    capacity: int | None = None
    gpu_mem: str | None = None
    card: str | None = None
    card_files: tuple[Path, ...] = ()
    cards: int = 1
    display: bool = False
    allocator: str | None = None
    steps: int = 3
    time_limit: float = 600.0
    snapshot: Path | None = None

    def __post_init__(self) -> None:
        check_seconds("time_limit", self.time_limit)


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the allocator may take of a device, as bytes: likely, and how far that may be off.

    With ``least`` at hand a script fits whatever the context takes; one that does not fit
    ``most`` does not fit the card.
    """

    total: int
    overhead: Overhead

    @property
    def likely(self) -> int:
        """What the process likely leaves."""
        return self.total - self.overhead.likely_bytes

    @property
    def least(self) -> int:
        """If the process takes most, and the allocator more than it is seen to."""
        return max(0, int(self.total / (1 + ABOVE)) - self.overhead.high_bytes)

    @property
    def most(self) -> int:
        """If the process takes least, and the allocator less than it is seen to."""
        return int(self.total / (1 - BELOW)) - self.overhead.low_bytes


@dataclass(frozen=True, kw_only=True)
class ScriptTarget:
    """The device of a request, with ``allocator_conf`` as PyTorch takes it, and notes.

    ``limited``: it is a card, so that something may not fit it.
    """

    device: NullDevice
    profile: Card | None
    room: Room
    allocator_conf: str
    notes: tuple[str, ...]
    limited: bool = True

    def device_with(self, capacity: int) -> NullDevice:
        """The device with so much left for the allocator."""
        total = max(self.room.total, capacity + self.overhead_low)
        return replace(
            self.device,
            total_bytes=total,
            nvml_bytes=max(total, self.device.nvml_bytes),
            context_bytes=total - capacity,
            library_bytes=0,
        )

    @property
    def card(self) -> str | None:
        """Its name, if its profile is known."""
        return self.profile.name if self.profile else None

    @property
    def overhead_low(self) -> int:
        """The least that a process takes beside the allocator."""
        return self.room.overhead.low_bytes


def target_without_card(allocator: str | None = None) -> ScriptTarget:
    """A device on which memory does not run out, of the assumed capability: for peaks alone.

    Raises:
        UsageError: ``allocator`` is no setting.
        NullDeviceError: torch is not a CUDA build.
    """
    cuda = cuda_version(find_installation().cuda)
    overhead = process_overhead(ASSUMED_CAPABILITY, cuda=cuda)
    device = NullDevice(
        name="a GPU without a limit",
        total_bytes=NO_LIMIT,
        context_bytes=overhead.likely_bytes,
        library_bytes=0,
        capability=ASSUMED_CAPABILITY,
        multiprocessors=WorkspaceModel().multiprocessors,  # as the tracer takes it
        threads_per_multiprocessor=threads_per_multiprocessor(ASSUMED_CAPABILITY),
    )
    return ScriptTarget(
        device=device,
        profile=None,
        room=Room(total=NO_LIMIT, overhead=overhead),
        allocator_conf="" if allocator is None else allocator_settings(allocator),
        notes=(),
        limited=False,
    )


def target_of(request: ScriptRequest) -> ScriptTarget:
    """Look up the card and what a process takes of it.

    Raises:
        UsageError: the card is not known or too small, or a number cannot be meant.
        NullDeviceError: torch is not a CUDA build.
    """
    if not request.command:
        raise UsageError("there is no command to run", "write it after --, such as -- python x.py")
    if not 1 <= request.steps <= MOST_STEPS:
        raise UsageError(f"--steps {request.steps} cannot be run", f"ask for 1 to {MOST_STEPS:,}")
    if not 1 <= request.cards <= MOST_DEVICES:
        raise UsageError(f"--cards {request.cards} cannot be had", f"ask for 1 to {MOST_DEVICES}")
    asked = choose_budget(request.gpu_mem, request.card, request.card_files)
    budget = with_display(asked.budget) if request.display else asked.budget
    check_room(budget, asked.card)
    cuda = cuda_version(find_installation().cuda)
    target = target_for(budget, asked.card, cuda)
    notes: tuple[str, ...] = ()
    if asked.card is not None:
        device = NullDevice.of_card(asked.card)
    else:
        notes = (
            "no profiled card has this size: compute capability "
            f"{'.'.join(map(str, ASSUMED_CAPABILITY))} and {_MULTIPROCESSORS} multiprocessors are "
            "assumed",
        )
        device = NullDevice(
            name=f"a GPU of {budget.requested}",
            total_bytes=target.total_bytes,
            context_bytes=target.overhead.likely_bytes,
            library_bytes=0,
            capability=ASSUMED_CAPABILITY,
            multiprocessors=_MULTIPROCESSORS,
            threads_per_multiprocessor=threads_per_multiprocessor(ASSUMED_CAPABILITY),
        )
    device = replace(device, count=request.cards)
    settings = "" if request.allocator is None else allocator_settings(request.allocator)
    return ScriptTarget(
        device=device,
        profile=asked.card,
        room=Room(total=target.total_bytes, overhead=target.overhead),
        allocator_conf=settings,
        notes=notes,
    )
