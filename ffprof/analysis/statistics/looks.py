"""How often one may look at the rounds of an audit, and how far each look may be wrong.

An audit is looked at after 5, 9 and 15 rounds, and several claims are judged at each look. The
chance of any wrong verdict in a whole audit is kept at ``ERROR`` by Bonferroni's inequality: a
third of it for each look, in equal parts for the claims (docs/verdicts.md).
"""

from __future__ import annotations

LOOKS = (5, 9, 15)  # rounds
ERROR = 0.01  # the chance of any wrong verdict in an audit without a difference


def look_of(rounds: int) -> int | None:
    """The last look that ``rounds`` rounds have reached, in rounds; None below the first."""
    return max((look for look in LOOKS if look <= rounds), default=None)


def next_look(rounds: int) -> int | None:
    """The look after ``rounds`` rounds, in rounds; None if the last is behind."""
    return min((look for look in LOOKS if look > rounds), default=None)


def error_of(claims: int) -> float:
    """The chance of being wrong that one of ``claims`` claims has at a look, both sides together.

    Raises:
        ValueError: there is no claim.
    """
    if claims < 1:
        raise ValueError("there must be a claim to be wrong about")
    return ERROR / len(LOOKS) / claims
