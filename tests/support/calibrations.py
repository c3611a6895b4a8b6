"""Audits of known noise, and the calibrations that they make."""

import math

import numpy as np
from records import record, trial

from ffprof.analysis.calibration import calibration_of


def noisy_audit(rounds=10, sd=0.03, *, drift=0.1, names=("a", "b", "c"), seed=3, change=None):
    """Every row at its own speed; ``change`` is {row: log of what every other round gains}."""
    draw = np.random.default_rng(seed)
    machine = draw.normal(0, drift, rounds)
    trials = [
        trial(
            name,
            number,
            speed=100.0
            * (place + 1)
            * math.exp(
                machine[number]
                + draw.normal(0, sd)
                + ((change or {}).get(name, 0.0) if number % 2 else 0.0)
            ),
        )
        for number in range(rounds)
        for place, name in enumerate(names)
    ]
    return record(trials, workloads=names, rounds=rounds)


def calibrated(audit, **more):
    return calibration_of(
        audit,
        **{"audit": "audit-test.json", "sha256": "0" * 64, "command": "ffprof calibrate", **more},
    )
