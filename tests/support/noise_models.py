"""How speeds of processes may differ where nothing has changed.

Logarithms of rates, (audits, rows, rounds).

Each model is a function of a random generator and a shape.
"""

import numpy as np


def normal(rng, shape):
    return rng.normal(0, 0.02, shape)


def bimodal(gap, jitter=0.003):
    """Every process meets one of two speeds, as likely as the other."""
    return lambda rng, shape: gap * rng.integers(0, 2, shape) + rng.normal(0, jitter, shape)


def one_in_five_slow(jitter):
    return lambda rng, shape: (
        np.log(0.85) * (rng.random(shape) < 0.2) + rng.normal(0, jitter, shape)
    )


def drift(rng, shape):
    """The machine loses 30 % over the audit; rows run in an order of chance in every round."""
    _, rows, rounds = shape
    order = rng.random(shape).argsort(axis=1)
    time = (np.arange(rounds) * rows + order) / (rows * rounds)
    return np.log(0.7) * time + rng.normal(0, 0.01, shape)


def wander(rng, shape):
    """The machine's speed is a random walk from trial to trial."""
    audits, rows, rounds = shape
    order = rng.random(shape).argsort(axis=1)
    walk = np.cumsum(rng.normal(0, 0.01, (audits, rows * rounds)), axis=1)
    at = (np.arange(rounds) * rows + order).reshape(audits, -1)
    return np.take_along_axis(walk, at, axis=1).reshape(shape) + rng.normal(0, 0.005, shape)


def heavy_tails(degrees):
    return lambda rng, shape: 0.02 * rng.standard_t(degrees, shape)


def rows_unlike(rng, shape):
    """Some rows are ten times as noisy as others."""
    scale = np.exp(rng.normal(np.log(0.02), 0.7, (*shape[:-1], 1)))
    return rng.normal(0, 1, shape) * scale


def one_noisy_row(rng, shape):
    noise = rng.normal(0, 0.01, shape)
    noise[:, -1] *= 15
    return noise


MODELS = {
    "normal 2 %": normal,
    "two speeds 10 % apart": bimodal(0.10),
    "two speeds 30 % apart, hardly any other noise": bimodal(0.30, 0.001),
    "one process in five 15 % slow": one_in_five_slow(0.005),
    "one process in five 15 % slow, hardly any other noise": one_in_five_slow(0.0005),
    "drift": drift,
    "wandering": wander,
    "t with 2 degrees of freedom": heavy_tails(2),
    "Cauchy": heavy_tails(1),
    "rows unlike": rows_unlike,
    "one noisy row": one_noisy_row,
}


def some_rows_of_two_speeds(rows, gap, share):
    """Only ``rows`` rows meet a faster speed, in ``share`` of processes; the others are steady.

    Logarithms have the mean 0, so that nothing differs.
    """

    def draw(rng, shape):
        noise = rng.normal(0, 0.005, shape)
        fast = rng.random((shape[0], rows, shape[2])) < share
        noise[:, 1 : 1 + rows] += gap * (fast - share)
        return noise

    return draw


# Of which few rounds know too little: what is said of them is in docs/verdicts.md.
BEYOND = {
    "one row alone of two speeds 10 % apart, 50:50": some_rows_of_two_speeds(1, 0.1, 0.5),
    "one row alone of two speeds 20 % apart, 80:20": some_rows_of_two_speeds(1, 0.2, 0.8),
    "5 rows of 17 of two speeds 20 % apart, 50:50": some_rows_of_two_speeds(5, 0.2, 0.5),
}
