"""What ``ffprof learn`` was asked for besides the recipe, before anything is looked up.

Imports nothing that takes time: ``--help`` reads this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """What the user requested besides the recipe, in the words of the command line."""

    epochs: int = 20
    seeds: str = "3"
    sweep: str | None = None
    classes: int | None = None
    drawn_by: int | None = None
    samples: int | None = None
    samples_per_class: int | None = None
    labels: str = "fine"
    schedule: str = "cosine"
    warmup_epochs: float | None = None
    augmentation: bool = True
    shift: int | None = None
    validation: float = 0.1
    target: float | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    optimizer: str | None = None
    tune: int | None = None
    jobs: int = 1
    time_limit: float = 86_400.0
    teacher_depth: int | None = None
    teacher_width: int | None = None
    label_noise: float | None = None
    teacher_seed: int | None = None
    test_samples: int | None = None
    unbalanced: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> LearningOptions:
        """Those among values by name; others are passed over."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})
