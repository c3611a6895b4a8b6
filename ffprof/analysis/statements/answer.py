"""An answer to a statement: our figure, what it is worth, and how far it agrees with the paper's.

Nothing is said beyond the verdicts of studies and audits: signs and words need an interval, and a
figure agrees if its interval holds the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ffprof.records.store import AnyRecord
from ffprof.records.trial import Evidence

Agreement = Literal[
    "agrees",
    "agrees in part",
    "same sign",
    "same sign, smaller",
    "same sign, larger",
    "lower",
    "higher",
    "contradicts",
    "cannot tell",
    "not comparable",
    "not run",
]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A result file, by the name that it is quoted by."""

    name: str
    record: AnyRecord

    @property
    def finished(self) -> bool:
        """Whether nothing that was planned is missing."""
        missing = getattr(self.record, "missing", None)
        return missing is None or not missing()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known of one statement.

    ``figure`` is short, ``sentence`` says where it comes from and why it agrees or not.
    ``stand_in`` names what answered instead of the paper's data or preset; empty for its own.
    ``finished``: no more is to come from the ``sources``.
    """

    agreement: Agreement
    figure: str = "-"
    evidence: Evidence | None = None
    sources: tuple[str, ...] = ()
    sentence: str = ""
    stand_in: str = ""
    finished: bool = False


def not_run(reason: str = "") -> Answer:
    """Nothing answers."""
    return Answer(agreement="not run", sentence=reason)


def points_agreement(points: float, low: float, high: float) -> tuple[Agreement, str]:
    """What an interval of a lead says of a lead of ``points`` (above 0), with the reason."""
    if high < 0:
        return "contradicts", "the other one is ahead"
    if low <= 0:
        if high < points:
            return "cannot tell", f"which is ahead; if it leads, by less than the {points:g} points"
        return "cannot tell", "which is ahead"
    if high < points:
        return "same sign, smaller", f"less than the {points:g} points by {_apart(points, high)}"
    if low > points:
        return "same sign, larger", f"more than the {points:g} points by {_apart(low, points)}"
    return "agrees", f"the interval holds the {points:g} points"


WIDEST = 1.0  # points on either side: a wider interval that holds the paper's figure is no answer


def percent_agreement(
    percent: float, value: float, half: float | None, *, least: bool
) -> tuple[Agreement, str]:
    """What an accuracy with half its interval says of the paper's, both in percent.

    Args:
        percent: the paper's.
        value: ours.
        half: None where there are too few seeds.
        least: the paper's is a bound from below.
    """
    if half is None:
        return "cannot tell", "too few seeds to tell"
    low, high = value - half, value + half
    if high < percent:
        return "lower", f"below {percent:g} % by at least {percent - high:.1f} points"
    if low > percent:
        over = f"above {percent:g} % by at least {low - percent:.1f} points"
        return ("agrees", "above it") if least else ("higher", over)
    if least or half > WIDEST:
        return "cannot tell", f"the interval of ±{half:.1f} points holds the {percent:g} %"
    return "agrees", f"the interval holds the {percent:g} %"


SAME_RATIO = 0.05  # ratios as far apart as this agree


def ratio_agreement(paper: float, ours: float, *, surely: bool) -> tuple[Agreement, str]:
    """What a ratio says of the paper's.

    Args:
        paper: not 1.
        ours: a ratio of the same two rows.
        surely: whether the side of 1 that ours is on is sure.
    """
    if not surely:
        return "cannot tell", "which of the two needs more, or is faster"
    if (ours > 1) != (paper > 1):
        return "contradicts", "the other way round"
    if abs(ours / paper - 1) <= SAME_RATIO:
        return "agrees", f"within {SAME_RATIO:.0%} of the paper's ratio, {paper:.2f}x"
    larger = (ours > paper) == (paper > 1)
    word: Agreement = "same sign, larger" if larger else "same sign, smaller"
    return word, f"the paper's ratio is {paper:.2f}x"


def _apart(more: float, less: float) -> str:
    return f"at least {more - less:.2f}"
