import pytest
from records import MIB, claim, record, trial

from ffprof.analysis.ratios import ratios_of
from ffprof.analysis.summary import summarise
from ffprof.analysis.verdicts import judge
from ffprof.errors import UsageError
from ffprof.records.recipe import FAMILY


def found(made, relative_to=""):
    return ratios_of(made, summarise(made), relative_to)


def rows(rounds=3):
    trials = [trial("bp", r, family="bp", memory=300 * MIB, speed=200) for r in range(rounds)]
    trials += [trial("small", r, family="bp", memory=100 * MIB, speed=50) for r in range(rounds)]
    trials += [trial("new", r, family="ff", memory=250 * MIB, speed=100) for r in range(rounds)]
    trials += [trial("gone", r, outcome="oom", message="no memory") for r in range(rounds)]
    return trials


def test_ratios_are_to_the_smallest_row_of_the_family_that_claims_are_against():
    for baseline in ("bp", FAMILY + "bp"):
        ratios = found(record(rows(), claims=[claim("new", baseline, "memory")]))
        assert ratios.reference == "small"
        assert "the smallest row of family bp here" in ratios.reason
        assert ratios.memory == {"bp": 3.0, "small": 1.0, "new": 2.5}
        assert ratios.speed == pytest.approx({"bp": 4.0, "small": 1.0, "new": 2.0})


def test_a_named_row_stands_instead():
    ratios = found(record(rows(), claims=[claim("new", "bp", "memory")]), "bp")
    assert (ratios.reference, ratios.reason) == ("bp", "")
    assert ratios.memory["new"] == pytest.approx(250 / 300)
    assert ratios.speed["new"] == pytest.approx(0.5)


def test_without_a_claim_and_a_name_there_are_none():
    assert found(record(rows())) is None
    assert found(record(rows()), "new").reference == "new"


@pytest.mark.parametrize(
    ("name", "words"),
    [("nw", "did you mean new"), ("gone", "has no memory figure"), ("", "")],
)
def test_a_name_that_is_no_row_is_refused(name, words):
    made = record(rows())
    if not name:
        assert found(made, name) is None
        return
    with pytest.raises(UsageError, match=words):
        found(made, name)


@pytest.mark.parametrize("rounds", [3, 5, 9])
def test_a_speed_is_the_ratio_that_the_verdict_has(rounds):
    trials = []
    for r in range(rounds):
        trials.append(trial("bp", r, family="bp", memory=100 * MIB, speed=100 + 7 * r % 5))
        trials.append(trial("new", r, family="ff", memory=100 * MIB, speed=130 - 3 * r))
    made = record(trials, claims=[claim("new", "bp", "throughput")])
    (verdict,) = judge(made)
    assert found(made).speed["new"] == pytest.approx(verdict.ratio, rel=1e-12)
