import pytest
from records import MIB, claim, record, trial

from ffprof.analysis.verdicts import judge

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


def peaks(ours, theirs):
    """The verdict on rows whose peaks were these, round by round, in MiB."""
    trials = [trial("a", r, memory=int(m * MIB)) for r, m in enumerate(ours)]
    trials += [trial("b", r, memory=int(m * MIB)) for r, m in enumerate(theirs)]
    (got,) = judge(record(trials, claims=[MEMORY], judged=False))
    return got


def test_where_rounds_say_different_things_that_is_the_finding():
    got = peaks([90, 110], [100, 100])
    assert (got.finding, got.supported) == ("does not repeat", None)
    assert "peaks of a do not repeat: they differ by 20.0 MiB" in got.sentence


def test_a_verdict_that_every_pair_of_rounds_supports_stands_and_the_disagreement_is_told():
    got = peaks([50, 50, 50.25], [100, 100, 100])
    assert (got.finding, got.supported) == ("lower", True)
    assert got.sentence.endswith("supported (peaks of a do not repeat: they differ by 256 KiB)")


@pytest.mark.parametrize(
    ("ours", "finding"), [(7.94, "inconclusive"), (5, "lower"), (13, "higher")]
)
def test_rows_of_which_the_zone_is_a_good_part_are_not_called_the_same(ours, finding):
    got = peaks([ours], [8.52])
    assert got.finding == finding
    assert ("cannot be told apart within 2.0 MiB" in got.sentence) == (finding == "inconclusive")


def test_throughput_below_five_rounds_is_a_ratio_only():
    got = verdict({"speed": 50}, {"speed": 100}, chosen=SPEED, rounds=4)
    assert (got.finding, got.supported, got.ratio) == ("ratio only", None, pytest.approx(0.5))
    assert "no verdict below 5 rounds (use --rounds 5 or more)" in got.sentence


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
    assert speeds([103, 110, 105, 109, 106]) == ("not slower", True)


def test_an_undecided_claim_says_which_look_may_tell():
    for rounds, further in ((5, 9), (9, 15), (15, 15)):
        trials = [trial("a", r, speed=100 + 30 * (-1) ** r) for r in range(rounds)]
        trials += [trial("b", r) for r in range(rounds)]
        (got,) = judge(record(trials, claims=[SPEED], judged=False))
        assert got.finding == "inconclusive"
        assert f"({further} rounds would tell a difference of " in got.sentence


def test_rounds_between_two_looks_do_not_count_yet():
    def after(rounds):
        trials = [trial("a", r, speed=200 if r < 5 else 1) for r in range(rounds)]
        trials += [trial("b", r) for r in range(rounds)]
        (got,) = judge(record(trials, claims=[SPEED], judged=False))
        return got.rounds, got.finding

    assert [after(n) for n in (5, 6, 8)] == [(5, "faster")] * 3
    assert after(9) == (9, "inconclusive")
    assert after(17)[0] == 15


def test_the_second_opinion_is_told_and_decides_nothing():
    got = verdict({"speed": 150}, {"speed": 100}, chosen=SPEED, rounds=5)
    assert got.second_opinion.sign_flip == 2 / 2**5
    assert got.finding == "faster"
    assert "second opinion 1.500 to 1.500)" in got.sentence  # p cannot be less at five
    got = verdict({"speed": 150}, {"speed": 100}, chosen=SPEED, rounds=9)
    assert "second opinion 1.500 to 1.500, p 0.0039" in got.sentence


def test_noise_known_from_calibration_is_a_lower_bound():
    trials = [trial("a", r, speed=112) for r in range(5)] + [trial("b", r) for r in range(5)]
    made = record(trials, claims=[SPEED], judged=False)
    (believed,) = judge(made)
    (doubted,) = judge(made.model_copy(update={"noise": {"a": 0.05, "b": 0.05}}))
    assert (believed.finding, doubted.finding) == ("faster", "inconclusive")


def test_rows_are_paired_by_round():
    drift = [1, 4, 2, 8, 3]
    trials = [trial("a", r, speed=90 * d) for r, d in enumerate(drift)]
    trials += [trial("b", r, speed=100 * d) for r, d in enumerate(drift)]
    (got,) = judge(record(trials, claims=[SPEED], judged=False))
    assert got.interval == pytest.approx((0.9, 0.9), abs=1e-4)


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
        assert f"3 of 3 {outcome}" in got.sentence


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
    assert "smallest row of family f here" in memory.sentence
    assert "fastest row of family f here" in speed.sentence


@pytest.mark.parametrize("name", ["a", "b"])
def test_claims_are_judged_where_both_sides_are_part_of_the_audit(name):
    trials = [trial(name, r) for r in range(3)]
    claims = [MEMORY, claim("a", "family:b", "memory")]
    assert judge(record(trials, claims=claims, judged=False)) == ()


def test_a_planned_side_without_trials_is_named():
    trials = [trial("a", r) for r in range(3)]
    claims = [MEMORY, claim("a", "family:f", "memory")]
    families = {"a": "x", "b": "f"}
    made = record(trials, claims=claims, judged=False, workloads=("a", "b"), families=families)
    plain, family = judge(made)
    assert "b is not ok in every round: not run" in plain.sentence
    assert "(b not run)" in family.sentence
    assert plain.supported is family.supported is None


@pytest.mark.parametrize("chosen", [MEMORY, SPEED])
@pytest.mark.parametrize("loss", [(1.0, 1.0), (None, 1.0)])
def test_not_learning_wins_nothing_against_oom_either(chosen, loss):
    for a, b in (({"loss": loss}, {"outcome": "oom"}), ({"outcome": "oom"}, {"loss": loss})):
        got = verdict(a, b, chosen=chosen)
        assert (got.finding, got.supported) == ("not comparable", None)


def family_verdict(**outcomes):
    """The verdict on x against family f, whose members had these outcomes, round by round."""
    trials = [trial("x", r) for r in range(3)]
    for name, listed in outcomes.items():
        trials += [
            trial(name, r, family="f", **({"outcome": o} if isinstance(o, str) else o))
            for r, o in enumerate(listed)
        ]
    names = ("x", *outcomes)
    (got,) = judge(
        record(
            trials,
            claims=[claim("x", "family:f", "memory")],
            judged=False,
            workloads=names,
            families={"x": "x"} | dict.fromkeys(outcomes, "f"),
        )
    )
    return got.finding, got.supported


def test_a_family_does_not_fit_only_if_no_member_does():
    oom, ok, flat = ["oom"] * 3, ["ok"] * 3, [{"loss": (1.0, 1.0)}] * 3
    assert family_verdict(m=oom, n=oom) == ("fits", True)
    assert family_verdict(m=oom, n=["crashed"] * 3) == ("not comparable", None)
    assert family_verdict(m=oom, n=[]) == ("not comparable", None)
    assert family_verdict(m=oom, n=flat) == ("not comparable", None)
    assert family_verdict(m=oom, n=["oom", "ok", "ok"]) == ("not comparable", None)
    assert family_verdict(m=oom, n=ok) == ("same", False)


def test_the_best_of_a_family_is_unknown_while_a_member_is():
    ok, flat = ["ok"] * 3, [{"loss": (1.0, 1.0)}] * 3
    for other in ([], ["crashed"] * 3, ["timeout"] * 3, ["refused"] * 3, ["ok", "crashed", "ok"]):
        assert family_verdict(m=ok, n=other) == ("not comparable", None), other
    assert family_verdict(m=ok, n=flat) == ("same", False)


def test_one_disturbed_round_of_three_does_not_move_the_printed_ratio():
    trials = [trial("a", r, speed=140) for r in range(3)]
    trials += [trial("b", r, speed=1 if r == 1 else 100) for r in range(3)]
    (got,) = judge(record(trials, claims=[SPEED], judged=False))
    assert got.ratio == pytest.approx(1.4)


def test_one_oom_round_of_three_does_not_mean_that_it_does_not_fit():
    trials = [trial("a", r) for r in range(3)]
    trials += [trial("b", r, outcome="oom" if r == 1 else "ok") for r in range(3)]
    (got,) = judge(record(trials, claims=[MEMORY], judged=False))
    assert (got.finding, got.supported) == ("not comparable", None)
    assert "2 of 3 ok, 1 of 3 oom" in got.sentence


def test_a_challenger_is_not_compared_with_itself():
    trials = [trial("x", r, memory=MIB, family="f") for r in range(3)]
    trials += [trial("y", r, memory=90 * MIB, family="f") for r in range(3)]
    chosen = claim("x", "family:f", "memory")
    (got,) = judge(record(trials, claims=[chosen], judged=False))
    assert (got.baseline, got.supported) == ("y", True)
    alone = [t for t in trials if t.workload == "x"]
    assert judge(record(alone, claims=[chosen], judged=False)) == ()


def test_a_peak_of_nothing_gives_no_ratio():
    assert verdict({"memory": 5}, {"memory": 0}).finding == "not comparable"


def test_a_row_whose_trials_do_not_start_alike_wins_nothing():
    """Seed, weights and data are the same: what differs has outlived a trial."""
    trials = [trial("a", r, memory=10 * MIB, loss=(2.0 - 0.1 * r, 1.0)) for r in range(3)]
    trials += [trial("b", r) for r in range(3)]
    (got,) = judge(record(trials, claims=[MEMORY], judged=False))
    assert got.supported is None
    assert "first loss differs between rounds" in got.sentence


def test_a_row_that_never_took_a_step_wins_nothing():
    def skipping(count):
        trials = [trial("a", r, memory=10 * MIB) for r in range(3)]
        return [
            t.model_copy(update={"conditions": t.conditions.model_copy(update=_skipped(count))})
            for t in trials
        ]

    others = [trial("b", r) for r in range(3)]
    (never,) = judge(record([*skipping(2), *others], claims=[MEMORY], judged=False))
    assert never.supported is None
    assert "skipped all of its optimizer steps" in never.sentence
    (once,) = judge(record([*skipping(1), *others], claims=[MEMORY], judged=False))
    assert once.supported is True


def _skipped(count):
    return {"skipped_optimizer_steps": count}


def estimated(a, b, chosen=MEMORY):
    """A verdict on two estimated rows; each dictionary gives memory, fit and more."""
    trials = [
        trial(
            name,
            0,
            outcome=row.get("outcome", "ok"),
            device="cuda",
            evidence="estimated",
            loss=(None, None),
            memory_parts={
                "allocated_peak_bytes": row["memory"],
                "reserved_peak_bytes": row.get("reserved", row["memory"]),
                "fit": row.get("fit", "fits"),
            },
        )
        for name, row in (("a", a), ("b", b))
    ]
    (only,) = judge(record(trials, claims=[chosen], judged=False, evidence="estimated"))
    return only


def test_an_estimate_has_a_wider_zone():
    near = estimated({"memory": 960 * MIB}, {"memory": 1000 * MIB})
    assert (near.finding, near.supported) == ("same", False)
    far = estimated({"memory": 940 * MIB, "reserved": 1200 * MIB}, {"memory": 1000 * MIB})
    assert (far.finding, far.supported) == ("lower", True)
    assert "0.94x the memory of b, 1.20x reserved, at" in far.sentence


def test_an_estimate_gives_no_verdict_on_throughput():
    got = estimated({"memory": MIB}, {"memory": MIB}, chosen=SPEED)
    assert (got.finding, got.supported) == ("ratio only", None)
    assert got.sentence.endswith("an estimate gives no verdict on throughput")


def test_a_row_that_is_too_close_to_call_decides_nothing_by_fitting():
    fits = {"memory": 10 * MIB}
    lost = {"memory": 90 * MIB, "outcome": "oom", "fit": "does not fit"}
    assert (
        estimated(fits, lost).sentence
        == "estimated: a fits where b does not: the memory claim is supported"
    )
    close = lost | {"fit": "too close to call"}
    got = estimated(fits, close)
    assert got.supported is None
    assert "whether b fits is too close to call" in got.sentence


def test_an_estimated_row_needs_no_loss():
    assert estimated({"memory": 10 * MIB}, {"memory": 900 * MIB}).supported is True
