"""The statistics of benchmarks/accuracy/estimator.py: nothing that is tested on is fitted on."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks" / "accuracy"))

from split_half import Row, fit, halves, quantile

MARGIN = (0.05, 0.95)


def rows(names=10, batches=(8, 32), constant=1700.0, slope=1.0):
    return [
        Row(
            model=f"m{n}",
            batch=batch,
            measured=slope * (n + 1) * batch * 10 + constant,
            reserved=((n + 1) * batch * 9.0, (n + 1) * batch * 10.0),
            trial=0.0,
        )
        for n in range(names)
        for batch in batches
    ]


def test_models_are_never_on_both_sides():
    for seed in range(20):
        training, test = halves(rows(), seed)
        assert {r.model for r in training}.isdisjoint(r.model for r in test)
        assert len(training) + len(test) == 20
    assert halves(rows(), 1) != halves(rows(), 2)
    assert halves(rows(), 3) == halves(rows(), 3)


def test_the_fit_finds_what_made_the_rows_and_shrugs_off_one_that_is_wild():
    made = rows()
    made.append(Row(model="wild", batch=8, measured=39000.0, reserved=(90.0, 100.0), trial=0.0))
    found = fit(made, MARGIN)
    assert found.choice == 1
    assert found.constant == pytest.approx(1700.0)
    assert found.error(made[0]) == pytest.approx(0.0)


def test_verdicts():
    found = fit(rows(), MARGIN)
    row = Row(model="x", batch=1, measured=0.0, reserved=(0.0, 6000.0), trial=0.0)
    assert found.verdict(row, 8188) == "fits"
    assert found.verdict(row, 7600) == "does not fit"
    tried = Row(model="x", batch=1, measured=0.0, reserved=(0.0, 6000.0), trial=600.0)
    assert found.verdict(tried, 8188) == "too close to call"


def test_quantiles_lie_between_neighbours():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([0.0, 10.0], 0.9) == 9.0
    assert quantile([5.0], 0.9) == 5.0
