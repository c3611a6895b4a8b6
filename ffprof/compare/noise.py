"""How much processes of one row differ in speed, and what the rows of an audit know together.

Five processes of one row say little about their own noise: whichever of two speeds all of them
happened to meet, they agree. The rows of an audit ran interleaved on one machine, so what is known
of one row's noise is known of the others', too, as far as their variances agree. That is the
moderated variance of Smyth (2004), "Linear models and empirical Bayes methods for assessing
differential expression in microarray experiments", Statistical Applications in Genetics and
Molecular Biology 3(1), article 3, section 4 and equations for d0 and s0 in section 6.2; that a
row's variance never counts as less than what the rows share is ours (docs/verdicts.md).

Arrays may have further axes in front, one audit each; ``n`` rounds are the last axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST_ROWS = 5  # below, too few variances to say how far they agree
FEWEST_FOR_ONE_LEFT_OUT = 8  # a single noisy row should not blind the others
UNLIKE = 0.01  # of rows as noisy as the others, this many are taken for noisier
SMALLEST = 1e-12  # variance of logarithms: no clock tells two speeds apart by less than 1e-6


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What rows share: a variance of logarithms, and the degrees of freedom it is worth.

    ``least`` is what no row's variance counts as less than: the mean over rows, which is more than
    ``variance`` where rows differ in noise. With ``freedom`` 0, rows share only that.
    """

    variance: Array
    freedom: Array
    least: Array


def row_variances(logs: Array) -> Array:
    """Variance between processes of each row, shared changes of the machine taken out.

    ``logs`` are logarithms of rates, (..., rows, rounds). What remains of them without the means of
    row and round (a randomised block design) has (rows - 1) (rounds - 1) degrees of freedom in all;
    its squares in one row, divided by an equal part of those, scatter like a variance of
    rounds - 1. With one row there is nothing to take out.
    """
    import numpy as np

    rows, rounds = logs.shape[-2:]
    rest = logs - logs.mean(axis=-1, keepdims=True)
    if rows == 1:
        return np.asarray((rest**2).sum(axis=-1) / (rounds - 1))
    rest = rest - rest.mean(axis=-2, keepdims=True)
    return np.asarray((rest**2).sum(axis=-1) / ((rounds - 1) * (rows - 1) / rows))


def shared_noise(variances: Array, freedom: float) -> Noise:
    """What ``variances`` (..., rows), each of so many degrees of freedom, say together.

    Their logarithms scatter by trigamma(freedom / 2) if all rows are equally noisy. If they scatter
    more, rows differ in noise, and the shared variance is worth fewer degrees of freedom, never
    more than all rows have.
    """
    import numpy as np
    from scipy.special import digamma, polygamma

    rows = variances.shape[-1]
    known = np.maximum(variances, SMALLEST)
    quiet = np.sort(known, axis=-1)[..., : rows - (rows >= FEWEST_FOR_ONE_LEFT_OUT)]
    least = quiet.mean(axis=-1)
    if rows < FEWEST_ROWS:
        return Noise(variance=least, freedom=np.zeros_like(least), least=least)
    logs = np.log(known) - digamma(freedom / 2) + np.log(freedom / 2)
    excess = logs.var(axis=-1, ddof=1) - polygamma(1, freedom / 2)
    most = (rows - 1) * freedom
    worth = np.minimum(2 * _inverse_trigamma(np.maximum(excess, 1e-6)), most)
    centre = logs.mean(axis=-1) + digamma(worth / 2) - np.log(worth / 2)
    return Noise(variance=np.exp(centre), freedom=worth, least=least)


def moderated(variances: Array, freedom: float, noise: Noise) -> tuple[Array, Array]:
    """Variances (..., rows) with what rows share, and the degrees of freedom of each.

    The mean of the two, each weighted by its degrees of freedom, and at least ``noise.least``. A
    row that is noisier than the shared noise explains (an F test at ``UNLIKE``) knows better what
    its noise is, and keeps its own, as in the robust form of Phipson and others (2016), "Robust
    hyperparameter estimation protects against hypervariable genes", Annals of Applied Statistics
    10(2), there by degrees and here by a threshold.
    """
    import numpy as np
    from scipy.special import fdtrc

    shared, worth = noise.variance[..., None], noise.freedom[..., None]
    least = np.maximum(noise.least[..., None], shared)
    mixed = (worth * shared + freedom * variances) / (worth + freedom)
    alone = fdtrc(freedom, np.maximum(worth, 1e-9), variances / shared) < UNLIKE
    return (
        np.maximum(np.where(alone, variances, mixed), least),
        np.where(alone, float(freedom), worth + freedom),
    )


def _inverse_trigamma(values: Array) -> Array:
    """Where trigamma has these values; Newton's method of Smyth (2004), appendix."""
    import numpy as np
    from scipy.special import polygamma

    found = 0.5 + 1 / values
    for _ in range(50):
        value = polygamma(1, found)
        step = value * (1 - value / values) / polygamma(2, found)
        found = found + step
        if np.max(-step / found) < 1e-8:
            break
    return np.asarray(found)
