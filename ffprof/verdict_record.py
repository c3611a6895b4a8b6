"""The record of a verdict: one claim, judged.

Part of the record of an audit (``ffprof.record``), whose rules about units and nulls it keeps.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ffprof.recipe import Metric
from ffprof.record_part import Name, Part, Text

Finding = Literal[
    "lower",
    "higher",
    "same",
    "faster",
    "not slower",
    "slower",
    "inconclusive",
    "does not repeat",
    "fits",
    "does not fit",
    "ratio only",
    "not comparable",
]


class SecondOpinion(Part):
    """What other statistics say of the same rounds; no verdict rests on it.

    ``bootstrap`` is the 95 % percentile interval of the ratio over resampled rounds, ``sign_flip``
    the probability that noise without a difference gives as large a mean, over all flips of sign.
    """

    bootstrap: tuple[float, float]
    sign_flip: Annotated[float, Field(ge=0, le=1)]


class Verdict(Part):
    """One claim, judged on the trials of this record.

    ``interval`` holds for all claims and looks together in 99 of 100 audits (docs/verdicts.md);
    ``rounds`` is how many it was taken over.
    """

    claim: Name
    challenger: Name
    baseline: str
    metric: Metric
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    rounds: Annotated[int, Field(ge=1)] | None = None
    second_opinion: SecondOpinion | None = None
    finding: Finding
    supported: bool | None
    sentence: Text
