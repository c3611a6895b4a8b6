"""What a method has to be set besides learning rate and weight decay: a number, and its range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_SETTINGS = 2  # of a method: tuning more would favour the method that has more
SHARED_SETTINGS = ("learning_rate", "weight_decay")  # of the optimizer, which all methods have


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A number that a workload is built with: a keyword of its builder.

    Attributes:
        name: of the keyword.
        low: the lowest value that is tried.
        high: the highest one.
        default: what it is without tuning.
        log: whether orders of magnitude are equally likely, or values.
    """

    name: str
    low: float
    high: float
    default: float
    log: bool = True

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or len(self.name) > 100 or self.name in SHARED_SETTINGS:
            raise ValueError(f"{self.name!r} cannot be the name of a setting of a method")
        if not all(math.isfinite(value) for value in (self.low, self.high, self.default)):
            raise ValueError(f"{self.name} has a bound or a default that is no finite number")
        if not self.low <= self.default <= self.high or self.low == self.high:
            raise ValueError(
                f"{self.name} has the default {self.default:g}, "
                f"and a range from {self.low:g} to {self.high:g}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"{self.name} begins at {self.low:g}, which has no logarithm")


def check_settings(settings: Sequence[Setting]) -> None:
    """Refuse too many settings, or two of a name.

    Raises:
        ValueError: what is wrong with them.
    """
    names = [one.name for one in settings]
    if len(names) > MOST_SETTINGS:
        raise ValueError(f"a method has at most {MOST_SETTINGS} settings, not {len(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"two settings have the name {names[0]}")
