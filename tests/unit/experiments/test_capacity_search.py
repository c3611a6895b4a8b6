"""The search for the largest size, on simulated cards."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprof.experiments.capacity.search import (
    FIRST_FALL,
    FIRST_STEP,
    MAX_OOM,
    MAX_RUNS,
    Search,
    division,
    fewest_runs,
    told_apart,
)
from ffprof.records.frontier import Tried

CAP = 65_536


class Card:
    """Fits what ``fits`` says; keeps count."""

    def __init__(self, fits, outcomes=None):
        self.fits, self.outcomes, self.ran = fits, outcomes or {}, []

    def __call__(self, size):
        self.ran.append(size)
        outcome = self.outcomes.get(size) or ("ok" if self.fits(size) else "oom")
        return Tried(size=size, outcome=outcome, evidence="emulated", message="so it was")

    @property
    def losses(self):
        return sum(self.outcomes.get(n) is None and not self.fits(n) for n in self.ran)


def estimator(border, margin=0.05):
    """Clear only beyond a margin, as the real one."""

    def guess(size):
        if size > border * (1 + margin):
            return Tried(size=size, outcome="oom", evidence="estimated", fit="does not fit")
        answer = "fits" if size <= border else "too close to call"
        return Tried(size=size, outcome="ok", evidence="estimated", fit=answer)

    return guess


def check(found, card, *, cap, max_oom=MAX_OOM, max_runs=MAX_RUNS):
    """What must hold of any search on any card."""
    assert card.losses <= max_oom
    assert len(card.ran) <= max_runs
    assert len(set(card.ran)) == len(card.ran), "no size is run twice"
    assert all(1 <= n <= cap for n in card.ran)
    runs = [t for t in found.tried if t.evidence != "estimated"]
    assert [t.size for t in runs] == card.ran
    lost = {t.size for t in runs if t.outcome == "oom"}
    guessed = {t.size for t in found.tried if t.evidence == "estimated" and t.fit == "does not fit"}
    if found.largest:
        assert any(t.size == found.largest and t.outcome == "ok" for t in runs)
    assert found.largest == max((t.size for t in runs if t.outcome == "ok"), default=0)
    if found.first_failing is not None:
        assert found.first_failing > found.largest
        assert found.first_failing in lost | guessed
    if found.proven:
        assert found.first_failing == found.largest + 1
    else:
        assert found.message, "what is not proven is said"
        assert found.largest + 1 not in lost | guessed


@settings(max_examples=400)
@given(
    border=st.integers(0, 70_000),
    proposal=st.integers(0, 70_000),
    cap=st.integers(1, CAP),
    max_oom=st.integers(1, 8),
    max_runs=st.integers(1, 40),
    believed=st.none() | st.integers(0, 70_000),
)
def test_any_border_any_proposal(border, proposal, cap, max_oom, max_runs, believed):
    card = Card(lambda n: n <= border)
    guess = None if believed is None else estimator(believed)
    found = Search(
        card, proposal=proposal, cap=cap, guess=guess, max_oom=max_oom, max_runs=max_runs
    ).run()
    check(found, card, cap=cap, max_oom=max_oom, max_runs=max_runs)
    assert card.ran[0] == min(max(proposal, 1), cap)
    assert found.largest <= min(border, cap)
    if found.proven and all(t.evidence != "estimated" for t in found.tried):
        assert found.largest == border < cap
    if not found.proven and found.first_failing is None:
        assert found.largest == cap or len(card.ran) == max_runs


@settings(max_examples=400)
@given(
    sizes=st.sets(st.integers(1, 300)),
    broken=st.dictionaries(
        st.integers(1, 300), st.sampled_from(["timeout", "crashed", "refused"]), max_size=3
    ),
    proposal=st.integers(0, 300),
    max_oom=st.integers(1, 6),
)
def test_holes_noise_and_crashes(sizes, broken, proposal, max_oom):
    card = Card(sizes.__contains__, broken)
    found = Search(
        card, proposal=proposal, cap=300, guess=estimator(proposal), max_oom=max_oom
    ).run()
    check(found, card, cap=300, max_oom=max_oom)
    assert found.largest == 0 or found.largest in sizes
    hit = [n for n in card.ran if n in broken]
    assert hit in ([], card.ran[-1:]), "what is neither ends the search"
    if hit:
        assert not found.proven and broken[hit[0]] in found.message


@settings(max_examples=400)
@given(border=st.integers(1, 1000), error=st.floats(-0.09, 0.09))
def test_a_good_proposal_needs_few_runs(border, error):
    """Within 9 %, up to 1,000: proven, by 12 runs at most, and up to 128 by 8."""
    proposal = max(1, round(border * (1 + error)))
    card = Card(lambda n: n <= border)
    found = Search(card, proposal=proposal, cap=CAP).run()
    check(found, card, cap=CAP)
    assert found.proven and found.largest == border
    assert card.losses <= MAX_OOM
    assert len(card.ran) <= most_runs(border, proposal)
    assert len(card.ran) <= (8 if border <= 128 else 12)


def most_runs(border, proposal):
    """The bound: up, doubling, then the last step divided with one loss less; or down once."""
    if proposal <= border:
        step = max(1, round(FIRST_STEP * proposal))
        ups = math.ceil(math.log2((border + 1 - proposal) / step + 1))
        return 1 + ups + fewest_runs(step * 2 ** max(0, ups - 1) - 1, MAX_OOM - 1)
    fall = max(1, round(FIRST_FALL * proposal))
    if proposal - fall <= border:
        return 2 + fewest_runs(fall - 1, MAX_OOM - 1)
    return 3 + fewest_runs(proposal // 2, MAX_OOM - 2)


@pytest.mark.parametrize(
    ("border", "proposal", "ran"),
    [
        (64, 64, [64, 65]),
        (66, 64, [64, 65, 67, 66]),
        (63, 64, [64, 58, 61, 62, 63]),
        (100, 100, [100, 102, 101]),
        (0, 0, [1]),
        (0, 100, [100, 90, 45, 1]),
        (1, 0, [1, 2]),
    ],
)
def test_the_order_of_runs(border, proposal, ran):
    card = Card(lambda n: n <= border)
    found = Search(card, proposal=proposal, cap=CAP).run()
    assert card.ran == ran
    assert (found.largest, found.first_failing, found.proven) == (border, border + 1, True)
    assert found.message == ""


def test_a_clear_estimate_stands_for_a_run_that_is_not_allowed_any_more():
    card = Card(lambda n: n <= 100)
    # The first loss is the last: 104 fails, and 101 to 103 may not be run.
    clear = Search(card, proposal=104, cap=CAP, max_oom=1, guess=estimator(0)).run()
    assert (clear.largest, clear.first_failing, clear.proven) == (0, 1, True)
    assert "1 was estimated not to fit" in clear.message and "1 runs ran out" in clear.message
    card = Card(lambda n: n <= 100)
    vague = Search(card, proposal=90, cap=CAP, max_oom=1, guess=estimator(100)).run()
    assert (vague.largest, vague.first_failing, vague.proven) == (96, 104, False)
    assert "between 96 and 104 nothing is proven" in vague.message
    assert vague.tried[-1].evidence == "estimated"
    card = Card(lambda n: n <= 100)
    sure = Search(card, proposal=90, cap=CAP, max_oom=1, guess=estimator(90)).run()
    assert (sure.largest, sure.first_failing, sure.proven) == (96, 97, True)


def test_an_estimate_never_stands_for_a_run_that_crashed():
    card = Card(lambda n: n <= 64, {65: "crashed"})
    found = Search(card, proposal=64, cap=CAP, guess=estimator(10)).run()
    assert not found.proven and found.largest == 64 and found.first_failing is None
    assert "the run of 65 gave no result (crashed: so it was)" in found.message


def test_the_cap_is_not_a_proof():
    card = Card(lambda n: True)
    found = Search(card, proposal=200, cap=256).run()
    assert (found.largest, found.first_failing, found.proven) == (256, None, False)
    assert found.message == "256 fits, and larger ones were not tried"


def test_an_interrupted_search_keeps_what_it_found():
    def probe(size):
        if size > 101:
            raise KeyboardInterrupt
        return Tried(size=size, outcome="ok", evidence="emulated")

    search = Search(probe, proposal=100, cap=CAP)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    found = search.found("interrupted")
    assert (found.largest, found.proven) == (100, False)
    assert found.message == "interrupted; 100 fits, and nothing larger was shown not to"
    assert Search(probe, proposal=100, cap=CAP).found("interrupted").message == (
        "interrupted; nothing is proven"
    )


@given(unknown=st.integers(1, 400), losses=st.integers(1, 6), runs=st.integers(1, 12))
def test_the_division_is_the_best_there_is(unknown, losses, runs):
    """Whatever the border is: the fewest runs if they suffice, else the smallest gap."""
    worst, gaps = 0, 0
    for border in range(unknown + 1):
        low, high, left, more = 0, unknown + 1, losses, runs
        while high - low > 1 and left and more:
            at = low + division(high - low - 1, left, more)
            assert low < at < high
            low, high, left = (at, high, left) if at <= border else (low, at, left - 1)
            more -= 1
        assert low <= border < high
        worst, gaps = max(worst, runs - more), max(gaps, high - low)
    if told_apart(losses, runs) >= unknown:
        assert gaps == 1
        assert worst == fewest_runs(unknown, losses)
    else:
        # Runs tell at most this many parts apart, so some part is no smaller than this.
        assert gaps == math.ceil((unknown + 1) / (told_apart(losses, runs) + 1))


def test_with_losses_enough_it_is_bisection():
    assert division(99, 20, 20) == 50
    assert fewest_runs(1023, 20) == 10
    assert division(99, 1, 99) == 1
