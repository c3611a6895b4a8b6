import pytest
from records import recipe

from ffprof.analysis.ledger import agreements, differences
from ffprof.experiments.outcome import FIXED, mismatch
from ffprof.experiments.request import plan_rounds
from ffprof.records.audit import LedgerRow

FACTS = dict.fromkeys(FIXED, 1) | {"backbone": "shared", "backbone_digest": "abc", "heads": 3}


def test_equal_facts_match():
    assert mismatch(FACTS, FACTS | {"heads": 4}) is None


@pytest.mark.parametrize("name", FIXED)
def test_what_the_recipe_fixes_must_match(name):
    assert name in (mismatch(FACTS | {name: 2}, FACTS) or "")
    without = {k: v for k, v in FACTS.items() if k != name}
    assert name in (mismatch(without, FACTS) or "")


def test_shared_backbones_must_be_the_same_and_own_ones_need_not():
    assert "backbone" in (mismatch(FACTS | {"backbone_digest": "x"}, FACTS) or "")
    own = {"backbone": "own: unmatched", "backbone_digest": "x"}
    assert mismatch(FACTS | own, FACTS) is None


def test_differences_and_agreements_part_the_facts():
    ledger = {
        "a": LedgerRow(facts=FACTS),
        "b": LedgerRow(facts=FACTS | {"heads": 4}),
        "failed": LedgerRow(),
    }
    (only,) = differences(ledger)
    assert (only.fact, only.values) == ("heads", {"a": 3, "b": 4})
    assert "heads" not in agreements(ledger)
    assert set(FIXED) <= agreements(ledger).keys()


def test_a_fact_that_one_row_lacks_is_a_difference():
    ledger = {"a": LedgerRow(facts={"x": 1}), "b": LedgerRow(facts={"x": 1, "y": 2})}
    assert [d.values for d in differences(ledger)] == [{"a": None, "b": 2}]


def test_every_round_is_a_shuffle_of_all_workloads():
    names = [f"w{i}" for i in range(6)]
    slots = plan_rounds(names, 20, seed=3)
    assert slots == plan_rounds(names, 20, seed=3)
    orders = [tuple(s.workload for s in slots if s.round == r) for r in range(20)]
    assert all(sorted(order) == names for order in orders)
    assert len(set(orders)) > 10
    assert [s.round for s in slots] == sorted(s.round for s in slots)
    assert len({s.id for s in slots}) == len(slots)
    assert all([s.position for s in slots if s.round == r] == list(range(6)) for r in range(20))
    assert plan_rounds(names, 20, seed=recipe().seed) != slots
