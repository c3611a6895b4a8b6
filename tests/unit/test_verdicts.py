import pytest
from records import MIB, claim, record, trial

from ffprof.compare.verdicts import judge

MEMORY, SPEED = claim("a", "b", "memory"), claim("a", "b", "throughput")


def verdict(a, b, *, chosen=MEMORY, rounds=3, extra=(), **more):
    """One verdict on rows a and b; keyword dictionaries describe their trials."""
    trials = [trial("a", r, **a) for r in range(rounds)]
    trials += [trial("b", r, **b) for r in range(rounds)]
    made = record([*trials, *extra], claims=[chosen], judged=False, **more)
    (only,) = judge(made)
    return only


def test_more_memory_is_said_in_words():
    got = verdict({"memory": 390 * MIB, "speed": 97}, {"memory": 100 * MIB, "speed": 100})
    assert got.sentence == (
        "a takes 3.90x the memory of b at 0.97x its throughput: the memory claim is not supported"
    )
    assert (got.finding, got.supported, got.ratio) == ("higher", False, 3.9)


def test_less_memory_supports_the_claim():
    got = verdict({"memory": 50 * MIB}, {"memory": 100 * MIB})
    assert (got.finding, got.supported) == ("lower", True)
    assert got.sentence.endswith("the memory claim is supported")


@pytest.mark.parametrize(
    ("ours", "theirs", "finding"),
    [
        (100 * MIB - 2 * MIB, 100 * MIB, "same"),
        (100 * MIB - 2 * MIB - 1, 100 * MIB, "lower"),
        (1000 * MIB - 10 * MIB, 1000 * MIB, "same"),
        (1000 * MIB - 10 * MIB - 1, 1000 * MIB, "lower"),
        (100 * MIB + 2 * MIB + 1, 100 * MIB, "higher"),
        (100 * MIB, 100 * MIB, "same"),
    ],
)
def test_the_zone_is_two_mib_or_one_percent(ours, theirs, finding):
    got = verdict({"memory": ours}, {"memory": theirs})
    assert got.finding == finding
    assert got.supported is (finding == "lower")


def test_peaks_that_do_not_repeat_and_overlap_are_inconclusive():
    trials = [trial("a", 0, memory=90 * MIB), trial("a", 1, memory=110 * MIB)]
    trials += [trial("b", r, memory=100 * MIB) for r in range(2)]
    (got,) = judge(record(trials, claims=[MEMORY], judged=False))
    assert (got.finding, got.supported) == ("inconclusive", None)


def test_throughput_below_five_rounds_is_a_ratio_only():
    got = verdict({"speed": 50}, {"speed": 100}, chosen=SPEED, rounds=4)
    assert (got.finding, got.supported, got.ratio) == ("ratio only", None, pytest.approx(0.5))
    assert "no verdict below 5 rounds (here 4)" in got.sentence


@pytest.mark.parametrize(
    ("speed", "finding", "supported"),
    [(150, "faster", True), (50, "slower", False), (101, "same", True)],
)
def test_throughput_from_five_rounds_on(speed, finding, supported):
    got = verdict({"speed": speed}, {"speed": 100}, chosen=SPEED, rounds=5)
    assert (got.finding, got.supported) == (finding, supported)
    assert got.interval is not None


def test_a_noisy_comparison_is_undecided_and_a_noisy_gain_is_not_slower():
    def speeds(values):
        trials = [trial("a", r, speed=v) for r, v in enumerate(values)]
        trials += [trial("b", r, speed=100) for r in range(len(values))]
        (got,) = judge(record(trials, claims=[SPEED], judged=False))
        return got.finding, got.supported

    assert speeds([70, 130, 90, 120, 95]) == ("inconclusive", None)
    assert speeds([98, 108, 100, 106, 103]) == ("not slower", True)


def test_rows_are_paired_by_round():
    drift = [1, 4, 2, 8, 3]
    trials = [trial("a", r, speed=90 * d) for r, d in enumerate(drift)]
    trials += [trial("b", r, speed=100 * d) for r, d in enumerate(drift)]
    (got,) = judge(record(trials, claims=[SPEED], judged=False))
    assert got.interval == pytest.approx((0.9, 0.9))


@pytest.mark.parametrize("chosen", [MEMORY, SPEED])
def test_ok_against_oom_fits_and_has_no_ratio(chosen):
    fits = verdict({}, {"outcome": "oom"}, chosen=chosen)
    assert (fits.finding, fits.supported, fits.ratio) == ("fits", True, None)
    fails = verdict({"outcome": "oom"}, {}, chosen=chosen)
    assert (fails.finding, fails.supported, fails.ratio) == ("does not fit", False, None)


@pytest.mark.parametrize("loss", [(1.0, 1.0), (1.0, 2.0), (None, 1.0), (1.0, None)])
def test_a_row_that_does_not_learn_wins_nothing(loss):
    got = verdict({"memory": MIB, "loss": loss}, {"memory": 100 * MIB})
    assert (got.finding, got.supported, got.ratio) == ("not comparable", None, None)
    assert "cannot win" in got.sentence


def test_a_flat_loss_is_no_fault_on_random_labels():
    got = verdict({"memory": MIB, "loss": (1.0, 2.0)}, {"memory": 100 * MIB}, data="synthetic")
    assert got.supported is True


@pytest.mark.parametrize("outcome", ["crashed", "timeout", "refused"])
def test_a_row_that_failed_wins_nothing(outcome):
    for a, b in (({"outcome": outcome}, {}), ({}, {"outcome": outcome})):
        got = verdict(a, b)
        assert (got.finding, got.supported) == ("not comparable", None)
        assert outcome in got.sentence


def test_one_bad_round_spoils_the_row():
    extra = [trial("a", 7, outcome="crashed")]
    assert verdict({"memory": MIB}, {}, extra=extra).finding == "not comparable"


def test_a_family_means_its_best_fitting_row_by_metric():
    trials = []
    for r in range(5):
        trials += [
            trial("x", r, memory=50 * MIB, speed=100),
            trial("small", r, memory=40 * MIB, speed=50, family="f"),
            trial("fast", r, memory=90 * MIB, speed=200, family="f"),
            trial("tiny-but-still", r, memory=MIB, speed=900, family="f", loss=(1.0, 1.0)),
            trial("too-big", r, outcome="oom", family="f"),
        ]
    claims = [claim("x", "family:f", "memory"), claim("x", "family:f", "throughput")]
    memory, speed = judge(record(trials, claims=claims, judged=False))
    assert (memory.baseline, memory.supported) == ("small", False)
    assert (speed.baseline, speed.supported) == ("fast", False)
    assert "smallest row of family f" in memory.sentence
    assert "fastest row of family f" in speed.sentence


@pytest.mark.parametrize("name", ["a", "b"])
def test_claims_are_judged_where_both_sides_are_part_of_the_audit(name):
    trials = [trial(name, r) for r in range(3)]
    claims = [MEMORY, claim("a", "family:b", "memory")]
    assert judge(record(trials, claims=claims, judged=False)) == ()


def test_a_planned_side_without_trials_is_named():
    trials = [trial("a", r) for r in range(3)]
    claims = [MEMORY, claim("a", "family:b", "memory")]
    made = record(trials, claims=claims, judged=False, workloads=("a", "b"))
    plain, family = judge(made)
    assert "b: its outcome is missing" in plain.sentence
    assert "no row of family b was measured" in family.sentence
