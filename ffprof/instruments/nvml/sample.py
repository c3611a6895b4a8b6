"""What is known of a GPU: once for all, and at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SystemFacts:
    """The driver: its version, and the newest CUDA that it knows."""

    driver: str | None = None
    cuda: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """What does not change while an audit runs; ``unread`` has the reason of every None.

    Clocks are MHz, powers watts, temperatures degrees Celsius. ``nvml_total_bytes`` is more than
    CUDA offers. ``default_clock`` is what applications run at unless told otherwise; many GeForce
    cards do not tell. ``wddm`` is Windows's driver model for cards with a display.
    """

    uuid: str
    name: str = "GPU"
    driver: str | None = None
    nvml_total_bytes: int | None = None
    slice: bool = False  # of a GPU in MIG mode
    mig: bool | None = None  # the GPU is in MIG mode
    display: bool | None = None
    wddm: bool | None = None
    persistence: bool | None = None
    ecc: bool | None = None
    compute_mode: int | None = None
    max_clock: int | None = None
    set_clock: int | None = None
    default_clock: int | None = None
    slowdown_temperature: int | None = None
    power_limit: float | None = None
    default_power_limit: float | None = None
    unread: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuProcess:
    """A process on the GPU; ``graphics`` if it only draws. WDDM and WSL hide ``used_bytes``."""

    pid: int
    name: str = "unknown"
    used_bytes: int | None = None
    graphics: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One look at a GPU, at ``time.monotonic()`` ``seconds``; ``unread`` explains every None.

    ``device_used_bytes`` contains what the driver keeps for itself. ``energy_joules`` counts
    since the driver was loaded. ``power_watts`` is a mean over the last second on Ampere and newer
    (but GA100), of the moment on older ones (nvml.h). ``throttle`` holds the bits of nvml.h's
    clocks event reasons. Temperature, memory clock and graphics processes may be a second old.
    """

    seconds: float
    device_used_bytes: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    throttle: int | None = None
    temperature_celsius: float | None = None
    unread: dict[str, str] = field(default_factory=dict)


# The driver holds the power limit: usual under full load, and no disturbance by itself.
POWER_CAP = 0x4
SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "too hot (driver)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}


def in_words(bits: int) -> tuple[str, ...]:
    """The reasons in ``bits`` that slow a GPU down, without the power cap."""
    return tuple(text for bit, text in SLOWDOWNS.items() if bits & bit)
