"""The bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h), in words."""

from __future__ import annotations

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
