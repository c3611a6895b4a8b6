"""What other statistics say of the same rounds: a second opinion, on which no verdict rests.

A bootstrap over five processes covers 84 % where it says 95, and sign flips over five rounds
cannot say less than 6 %; both come close to the truth as rounds grow (docs/verdicts.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ffprof.records.audit import SecondOpinion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 4000
ALL_FLIPS = 15  # rounds up to which all flips are tried: 32,768


def second_opinion(logs: Sequence[float]) -> SecondOpinion:
    """On the log ratios of one pair of rows, at least one; the same for the same rounds."""
    import numpy as np

    values = np.array(logs, dtype=float)
    random = np.random.default_rng(0)
    drawn = random.integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.025, 0.975))
    return SecondOpinion(
        bootstrap=(math.exp(low), math.exp(high)), sign_flip=_sign_flip(values, random)
    )


def _sign_flip(values: NDArray[np.float64], random: np.random.Generator) -> float:
    """How often the mean of values with signs at random is as far from 0 as theirs."""
    import numpy as np

    count = len(values)
    if count <= ALL_FLIPS:
        signs = 1.0 - 2.0 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
    else:
        signs = random.choice((-1.0, 1.0), size=(2**ALL_FLIPS, count))
        signs[0] = 1.0  # the data themselves are one of the flips
    means = np.abs(signs @ values)
    return float(np.mean(means >= means[0] * (1 - 1e-12)))
