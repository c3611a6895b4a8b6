"""What benchmarks/bench_sampling.py concludes from blocks, and how it says so."""

import json
import math
import random
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from bench_sampling import ALLOWED, PAIRS_AT_LEAST, SamplerRun, in_words, judge, shape


def blocks(change, noise=0.0, pairs=30, samples=True):
    """Rates of pairs of blocks that drift a lot together and differ by ``change``."""
    draw = random.Random(5)
    alone = [20 * math.exp(draw.gauss(0, 0.2)) for _ in range(pairs)]
    sampled = [rate * (1 + change) * math.exp(draw.gauss(0, noise)) for rate in alone]
    took = (0.001, 0.002, 0.009) if samples else ()
    return SamplerRun(
        sampled=tuple(sampled), alone=tuple(alone), sample_seconds=took, processor_seconds=took
    )


def judged(run, sampling="some GPU", why=""):
    return judge(run, "cpu", sampling, why, workload="row", preset="small")


@pytest.mark.parametrize(
    ("change", "noise", "verdict"),
    [
        (0.0, 0.001, "kept"),
        (-0.002, 0.001, "kept"),
        (0.02, 0.001, "kept"),  # faster is no harm
        (-0.02, 0.001, "broken"),
        (0.0, 0.1, "not resolved"),
        (-0.005, 0.003, "not resolved"),
    ],
)
def test_the_verdict_is_the_interval_against_what_is_allowed(change, noise, verdict):
    cost = judged(blocks(change, noise))
    assert cost.verdict == verdict
    assert cost.low < cost.change < cost.high
    assert cost.change == pytest.approx(change, abs=4 * noise / math.sqrt(30) + 1e-12)
    first = in_words(cost)[0]
    assert "allowed 0.5 %" in first
    assert f"{100 * cost.change:+.2f} %" in first


@given(st.floats(-0.3, 0.3), st.integers(PAIRS_AT_LEAST, 40))
def test_drift_that_both_blocks_share_does_not_matter(change, pairs):
    cost = judged(blocks(change, pairs=pairs))
    assert cost.change == pytest.approx(change, abs=1e-9)
    # Without noise the interval is a point; at the line itself rounding decides.
    if abs(change + ALLOWED) > 1e-9:
        assert cost.verdict == ("kept" if change > -ALLOWED else "broken")


def test_the_cost_of_a_sample_is_told():
    cost = judged(blocks(0.0, 0.001))
    assert cost.sample_milliseconds == pytest.approx(2)
    assert cost.sample_worst_milliseconds == pytest.approx(9)
    assert cost.sample_processor_milliseconds == pytest.approx(4)
    assert "One sample takes 2.00 ms (median of 3, at most 9.00 ms)" in "\n".join(in_words(cost))
    assert json.loads(json.dumps(asdict(cost)))["verdict"] == "kept"


def test_without_nvml_nothing_is_claimed():
    cost = judged(blocks(0.0, 0.001, samples=False), sampling=None, why="NVML: no library")
    assert cost.verdict == "nothing to measure"
    assert (cost.samples, cost.sample_milliseconds) == (0, None)
    text = "\n".join(in_words(cost))
    assert "Nothing is sampled on this machine (NVML: no library)" in text
    assert "allowed" not in text
    assert "sample takes" not in text


def test_a_child_that_ended_early_is_one_line():
    cost = judged(SamplerRun(problem="killed by SIGKILL"))
    assert cost.verdict == "not measured"
    assert in_words(cost) == ["The sampler's cost was not measured: killed by SIGKILL"]


@given(st.floats(5, 3600))
def test_blocks_fill_the_time(seconds):
    pairs, block = shape(seconds)
    assert pairs >= PAIRS_AT_LEAST
    assert 2 * pairs * block == pytest.approx(seconds)
    assert 0.5 <= block < 1.2
