"""The tuning of a workload: which settings were tried, and how well they validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from ffprof.records.base import Count, Name, Named, Part, Seconds, Size, Text

MOST_TRIALS = 10_000  # of one workload
Share = Annotated[float, Field(ge=0, le=1)]
TrialOutcome = Literal["ok", "diverged", "oom", "timeout", "crashed", "refused"]


class SettingRange(Part):
    """From where to where a setting is searched; ``log``: by orders of magnitude."""

    name: Name
    low: float
    high: float
    log: bool = True

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"{self.name} cannot be searched from {self.low:g} to {self.high:g}")
        return self


class SearchTrial(Part):
    """One training under settings; trial 0 has the defaults.

    ``accuracy`` is that of the validation images after the last epoch, by the rule that the method
    is judged by; null unless the outcome is ok. ``seconds`` are of the whole process.
    """

    number: Count
    settings: Named[float]
    accuracy: Share | None = None
    outcome: TrialOutcome
    message: Text = ""
    seconds: Seconds

    @model_validator(mode="after")
    def _ok_means_validated(self) -> Self:
        if (self.outcome == "ok") != (self.accuracy is not None):
            raise ValueError("a trial has an accuracy exactly if its outcome is ok")
        return self


class Search(Part):
    """All trials of one workload, under the study's first task and first seed.

    ``sampler`` proposed the settings of all trials but the first. ``best`` is the number of the
    most accurate trial, the earliest of equals; null while none has ended well.
    """

    workload: Name
    seed: Count
    epochs: Size
    sampler: Text
    ranges: Annotated[tuple[SettingRange, ...], Field(min_length=1, max_length=4)]
    trials: Annotated[tuple[SearchTrial, ...], FailFast()] = Field(
        default=(), max_length=MOST_TRIALS
    )
    best: Count | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        names = {one.name for one in self.ranges}
        for place, trial in enumerate(self.trials):
            if trial.number != place:
                raise ValueError(f"trial {trial.number} of {self.workload} stands at {place}")
            if trial.settings.keys() != names:
                raise ValueError(f"trial {place} of {self.workload} has other settings")
        if self.best != best_trial(self.trials):
            raise ValueError(f"trial {self.best} of {self.workload} is not its best")
        return self

    def with_trial(self, trial: SearchTrial) -> Self:
        """The search after one more trial."""
        trials = (*self.trials, trial)
        return self.model_copy(update={"trials": trials, "best": best_trial(trials)})

    @property
    def settings(self) -> dict[str, float]:
        """The best ones; none while no trial has ended well."""
        return {} if self.best is None else self.trials[self.best].settings


def best_trial(trials: Sequence[SearchTrial]) -> int | None:
    """The number of the most accurate trial, the earliest of equals; None without any."""
    found = [one for one in trials if one.accuracy is not None]
    best = max(found, key=lambda one: (one.accuracy or 0.0, -one.number), default=None)
    return None if best is None else best.number
