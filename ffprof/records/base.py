"""What all parts of a record share: frozen, strict, with units in the names of types."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field

# Integers are bounded, because larger ones cannot be divided, nor printed beyond 4300 digits.
Bytes = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**63)]
Seconds = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(max_length=4000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Label = Annotated[str, Field(max_length=200)]
# Of what a file holds (ffprof.records.digest); empty in memory, and in files of older versions.
Digest = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]
MOST_TRIALS = 100_000  # of one record
MOST_BYTES = 64 * 1024 * 1024  # of one file, planned, saved or read
MOST_ITEMS = 10_000  # of any other list or table in a record
_V = TypeVar("_V")
Listed = Annotated[tuple[_V, ...], FailFast(), Field(max_length=MOST_ITEMS)]
Named = Annotated[dict[Name, _V], Field(max_length=MOST_ITEMS)]  # values by name
MOST_NOTES = 1000
Notes = Annotated[tuple[Text, ...], FailFast(), Field(max_length=MOST_NOTES)]


def check_trials(workloads: int, rounds: int) -> None:
    """Whether a record can hold so many trials.

    Raises:
        ValueError: it cannot.
    """
    if workloads * rounds > MOST_TRIALS:
        raise ValueError(
            f"{rounds:,} rounds of {workloads:,} workloads are more than {MOST_TRIALS:,} trials"
        )


def check_size(nbytes: float, what: str) -> None:
    """Whether a file of so many bytes could be read again.

    Args:
        nbytes: likely, of what is planned.
        what: what is planned, in words.

    Raises:
        ValueError: it could not.
    """
    if nbytes > MOST_BYTES:
        raise ValueError(
            f"{what} would make a file of about {nbytes / 2**20:,.0f} MiB, and a result file has "
            f"at most {MOST_BYTES // 2**20} MiB"
        )


class Part(BaseModel):
    """Base of all parts of a record: frozen, and strict about what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
