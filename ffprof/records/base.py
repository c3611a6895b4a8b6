"""What all parts of a record share: frozen, strict, with units in the names of types."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Integers are bounded, because larger ones cannot be divided, nor printed beyond 4300 digits.
Bytes = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**63)]
Seconds = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(max_length=4000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
MOST_TRIALS = 100_000  # of one record


def check_trials(workloads: int, rounds: int) -> None:
    """Whether a record can hold so many trials.

    Raises:
        ValueError: it cannot.
    """
    if workloads * rounds > MOST_TRIALS:
        raise ValueError(
            f"{rounds:,} rounds of {workloads:,} workloads are more than {MOST_TRIALS:,} trials"
        )


def command_words(words: Sequence[str]) -> str:
    """A command as records hold it: cut to what they take, in characters that a file can hold."""
    return shlex.join(words).encode(errors="replace").decode()[:4000]


class Part(BaseModel):
    """Base of all parts of a record: frozen, and strict about what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
