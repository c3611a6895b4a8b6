"""What a paper states, as questions that result files answer; free of torch.

A statement has the paper's words and figure, one question of the kinds below, and the commands that
would answer it. It knows no method: a package registers its paper under ``ffprof.papers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ffprof.records.recipe import Metric


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What a workload reads on the test set, all of its data and classes used, in percent.

    ``least``: the paper says no more than that it is above ``percent``.
    """

    workload: str
    data: str
    percent: float
    least: bool = False


@dataclass(frozen=True, kw_only=True)
class Lead:
    """By how many points one workload reads more than another, all data and classes used."""

    ahead: str
    behind: str
    data: str
    points: float


@dataclass(frozen=True, kw_only=True)
class Widening:
    """Whether the lead of one workload over another grows with the number of classes."""

    ahead: str
    behind: str
    data: str


@dataclass(frozen=True, kw_only=True)
class Reversal:
    """Two workloads over the number of classes, on two data sets with opposite signs.

    On ``real`` data ``ahead`` leads at many classes, on ``synthetic`` data the other does, by more
    the more classes there are.
    """

    ahead: str
    behind: str
    synthetic: str
    real: str

    @property
    def data(self) -> str:
        """The data that a stand-in may stand for."""
        return self.real


@dataclass(frozen=True, kw_only=True)
class Granularity:
    """Whether a lead is larger under fine labels than under coarse ones of the same images."""

    ahead: str
    behind: str
    data: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Memory or speed of one row as a multiple of another's, in audits of a preset."""

    metric: Metric
    workload: str
    baseline: str
    preset: str
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Unsupported:
    """That claims, by their ids in the recipe, are not supported in audits of a preset."""

    claims: tuple[str, ...]
    preset: str


@dataclass(frozen=True, kw_only=True)
class Depth:
    """That a row's memory hardly grows with depth where the baseline's does.

    Read off audits that differ in D of their backbone flat-D-W only. Parameters are made of depth,
    too, so ``most`` is the part of the baseline's growth that may be left.
    """

    workload: str
    baseline: str
    most: float = 0.2


MOST_WORDS, MOST_FIGURE = 31, 10  # characters of a statement and of its figure
Question = Accuracy | Lead | Widening | Reversal | Granularity | Cost | Unsupported | Depth


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of ffprof: its verb, and options by the name of their parameter.

    Of options that are on or off, True is the option itself, False the option with ``no-``.
    """

    verb: Literal["learn", "run"]
    options: Mapping[str, Any] = field(default_factory=dict)

    def words(self) -> tuple[str, ...]:
        """As it is typed."""
        found = ["ffprof", self.verb]
        for name, value in self.options.items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                found.append(f"--{option}" if value else f"--no-{option}")
            else:
                found += [f"--{option}", str(value)]
        return tuple(found)

    def __str__(self) -> str:
        return " ".join(self.words())


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a command would take on a card; estimated.

    ``seconds`` are of optimizer steps alone, without starting processes, reading images and
    validating. ``reserved_bytes`` is the most that one of its workloads reserves without a limit,
    and ``unfit`` names those that are estimated not to fit. None where it is not known.
    """

    seconds: float | None = None
    reserved_bytes: int | None = None
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing that a paper states.

    Attributes:
        id: for programs.
        words: what is stated, in at most 31 characters, which a table has room for.
        figure: the paper's, as text of at most 10 characters.
        question: what answers it.
        commands: what to run for an answer.
        small: what a processor can do in minutes instead, on stand-ins.
        stand_ins: other data (or presets) that may answer instead, the best first; told as such.
        rank: of the order in which ``--run`` runs; smaller is more telling.
    """

    id: str
    words: str
    figure: str
    question: Question
    commands: tuple[Command, ...]
    small: tuple[Command, ...] = ()
    stand_ins: tuple[str, ...] = ()
    rank: int = 100

    def __post_init__(self) -> None:
        if len(self.words) > MOST_WORDS or len(self.figure) > MOST_FIGURE:
            raise ValueError(f"statement {self.id!r} has more text than a table has room for")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper; ``reservation`` is what every comparison with its figures must be read with."""

    title: str
    source: str
    statements: tuple[Statement, ...]
    reservation: str

    def __post_init__(self) -> None:
        ids = [one.id for one in self.statements]
        if len(set(ids)) != len(ids):
            raise ValueError(f"two statements have the same id: {ids}")
