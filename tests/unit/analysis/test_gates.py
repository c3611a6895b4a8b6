"""The gates of a check: each status for its own reason, and nothing that hides another."""

import pytest
from gated import (
    ROWS,
    cpu,
    disturbed,
    estimated,
    gpu,
    unread,
    with_outcome,
    with_outcomes,
    without_limit,
    without_loss,
    without_trial,
)
from hypothesis import given
from hypothesis import strategies as st
from records import MIB, record, trial

from ffprof.analysis.gates.check import CheckOptions, check
from ffprof.analysis.gates.counts import grown
from ffprof.analysis.gates.figure import Figure, are_tied, rise_gate, told
from ffprof.analysis.gates.result import CheckResult, GateResult, exit_code
from ffprof.analysis.gates.thresholds import SpeedFall, Thresholds
from ffprof.analysis.gates.throughput import speed_gate
from ffprof.analysis.speed_changes import SpeedChange
from ffprof.errors import UsageError
from ffprof.records.audit import Budget, Debit, LedgerRow, Uncapped

LIVE = Thresholds().live


def rules(**tables):
    return Thresholds.model_validate(tables)


def gate(result, workload, metric):
    (found,) = [g for g in result.gates if (g.workload, g.metric) == (workload, metric)]
    return found


def status(result, workload, metric):
    return gate(result, workload, metric).status


def code(before, after, thresholds=None, **options):
    return exit_code([check(before, after, thresholds, CheckOptions(**options))])


def test_the_same_record_passes():
    result = check(cpu(), cpu())
    assert exit_code([result]) == 0
    assert {g.status for g in result.gates} == {"passed", "advice"}
    assert [status(result, name, "live") for name in ROWS] == ["passed"] * 4


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (100 * MIB, "passed"),
        (100 * MIB + MIB // 2, "passed"),  # 0.5 % of it
        (100 * MIB + MIB // 2 + 1, "regressed"),
        (100 * MIB - MIB // 2, "passed"),
        (100 * MIB - MIB // 2 - 1, "improved"),
        (0, "improved"),
    ],
)
def test_live_tensors_are_gated_to_the_byte(after, expected):
    result = check(cpu(), cpu(memory={"two": after}))
    found = gate(result, "two", "live")
    assert found.status == expected
    assert (found.baseline, found.current, found.limit) == (
        100 * MIB, after, 100 * MIB + MIB // 2,
    )  # fmt: skip
    assert status(result, "one", "live") == "passed"


@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
)
def test_a_verdict_on_ranges_holds_for_every_pair_of_rounds(before, after):
    was, now = Figure.over(before), Figure.over(after)
    found = rise_gate("w", "live", "it", "bytes", LIVE, was, now)
    exceeded = {new > old + LIVE.allowed(old) for old in before for new in after}
    if found.status == "regressed":
        assert exceeded == {True}
    elif found.status in ("passed", "improved"):
        assert exceeded == {False}
    else:
        # It is decided by the ends of the ranges, and both answers are among those.
        assert found.status == "inconclusive"
        assert exceeded == {True, False}


def test_peaks_that_do_not_repeat_are_said_whatever_comes_of_them():
    def both(number):
        return {"allocated_peak_bytes": (100 + 10 * number) * MIB, "reserved_peak_bytes": MIB}

    base = gpu({"allocated_peak_bytes": 105 * MIB, "reserved_peak_bytes": MIB}, 2)
    result = check(base, gpu(both, 2))
    assert status(result, "one", "allocated") == "inconclusive"
    assert "disagree" in gate(result, "one", "allocated").sentence
    assert exit_code([result]) == 4
    low = gpu({"allocated_peak_bytes": 90 * MIB, "reserved_peak_bytes": MIB}, 2)
    assert status(check(low, gpu(both, 2)), "one", "allocated") == "regressed"
    assert "disagree" in gate(check(low, gpu(both, 2)), "one", "allocated").sentence
    high = gpu({"allocated_peak_bytes": 110 * MIB, "reserved_peak_bytes": MIB}, 2)
    assert status(check(high, gpu(both, 2)), "one", "allocated") == "passed"


@pytest.mark.parametrize("evidence", ["measured", "emulated"])
def test_a_gpu_has_two_gates_on_memory_with_limits_of_their_own(evidence):
    def peaks(allocated, reserved):
        parts = {
            "allocated_peak_bytes": allocated * MIB,
            "reserved_peak_bytes": reserved * MIB,
            "cold_reserved_peak_bytes": 9999 * MIB,
        }
        return gpu(parts, evidence=evidence)

    base = peaks(100, 500)
    assert code(base, peaks(102, 520)) == 0
    result = check(base, peaks(103, 521))
    assert status(result, "one", "allocated") == status(result, "one", "reserved") == "regressed"
    big = peaks(1000, 5000)  # shares are the larger limits here
    assert code(big, peaks(1005, 5100)) == 0
    assert status(check(big, peaks(1006, 5100)), "one", "allocated") == "regressed"
    assert status(check(big, peaks(1005, 5101)), "one", "reserved") == "regressed"


def capped(reserved, is_capped=True, uncapped=None):
    parts = {
        "allocated_peak_bytes": MIB,
        "reserved_peak_bytes": reserved * MIB,
        "capped": is_capped,
    }
    return gpu(parts, uncapped=uncapped)


def test_under_a_limit_what_is_reserved_without_one_is_compared():
    base = capped(1000, uncapped=without_limit(1200 * MIB))
    same = check(base, capped(1000, uncapped=without_limit(1200 * MIB)))
    assert status(same, "one", "reserved") == "passed"
    more = check(base, capped(1000, uncapped=without_limit(1300 * MIB)))
    assert status(more, "one", "reserved") == "regressed"
    assert gate(more, "one", "reserved").current == 1300 * MIB


def test_a_saturated_peak_is_not_measured_and_says_why():
    base = capped(900, is_capped=False)
    why = Uncapped(message="the GPU is not larger than the card")
    near = check(base, capped(910, uncapped=why))
    assert status(near, "one", "reserved") == "not measured"
    assert "not larger" in gate(near, "one", "reserved").sentence
    assert exit_code([near]) == 4
    # It wants at least what it got, and that is too much already.
    assert status(check(base, capped(1000)), "one", "reserved") == "regressed"
    assert status(check(capped(1000), base), "one", "reserved") == "not measured"
    off = rules(reserved={"gate": False})
    assert code(base, capped(910), off) == 0


def test_estimates_gate_memory_whether_they_fit_or_not():
    base = estimated(outcome="oom", fit="does not fit")
    assert code(base, base) == 0
    more = estimated(outcome="oom", fit="does not fit", allocated_peak_bytes=1006 * MIB)
    assert status(check(base, more), "one", "allocated") == "regressed"
    assert not [g for g in check(base, base).gates if "throughput" in g.metric]
    with pytest.raises(UsageError, match="estimate"):
        check(base, base, None, CheckOptions(throughput="gate"))


def counted(useful=1000, recomputed=100, operators=None):
    return LedgerRow(
        facts={"useful_flops": useful, "recomputed_flops": recomputed},
        operators={"aten.mm": 80, "aten.add": 20} if operators is None else operators,
    )


@pytest.mark.parametrize("make", [lambda row: estimated(ledger=row), lambda row: _counted_cpu(row)])
def test_flops_and_operators_are_gated_wherever_they_were_counted(make):
    base = make(counted())
    assert code(base, make(counted(1005, 100))) == 0
    result = check(base, make(counted(1006, 101)))
    assert status(result, "one", "useful_flops") == "regressed"
    assert status(result, "one", "recomputed_flops") == "regressed"
    result = check(base, make(counted(operators={"aten.mm": 80, "aten.add": 21, "aten.cat": 4})))
    assert status(result, "one", "operators") == "regressed"
    assert "aten.cat +4, aten.add +1" in gate(result, "one", "operators").sentence
    result = check(base, make(counted(recomputed=0)))
    assert status(result, "one", "recomputed_flops") == "improved"
    assert (
        status(check(make(counted(recomputed=0)), base), "one", "recomputed_flops") == "regressed"
    )


def _counted_cpu(row):
    return cpu(rows=("one",)).model_copy(update={"ledger": {"one": row}})


@pytest.mark.parametrize("value", [None, True, 1.5, -1, "many", 10**40])
def test_a_count_that_was_lost_is_not_measured(value):
    base = estimated(ledger=counted())
    after = estimated(ledger=LedgerRow(facts={"useful_flops": value, "recomputed_flops": 100}))
    result = check(base, after)
    assert status(result, "one", "useful_flops") == "not measured"
    assert status(result, "one", "operators") == "not measured"
    assert exit_code([result]) == 4
    # What the baseline does not have is not asked for.
    assert code(after, base) == 0
    assert any("operators" in note for note in check(after, base).notes)


def test_the_operators_that_grew_most_are_named():
    before = {f"op{n}": n for n in range(10)}
    after = {f"op{n}": n * 3 for n in range(10)}
    assert grown(before, after) == "op9 +18, op8 +16, op7 +14, op6 +12, op5 +10 and 4 others"


WAS = {"crashed": "crashed", "timeout": "ran into its time limit", "refused": "was refused"}


@pytest.mark.parametrize("outcome", WAS)
def test_what_was_not_measured_neither_passes_nor_regresses(outcome):
    base = cpu()
    after = with_outcome(base, "two", outcome, message="it went wrong")
    result = check(base, after)
    assert [g.status for g in result.gates if g.workload == "two"] == ["not measured"]
    assert outcome in gate(result, "two", "outcome").sentence
    assert "it went wrong" in gate(result, "two", "outcome").sentence
    assert exit_code([result]) == 4
    turned = check(after, base)
    assert not [g for g in turned.gates if g.workload == "two"]
    assert any(
        f"two is not gated: in the baseline it {WAS[outcome]}" in note for note in turned.notes
    )
    assert exit_code([turned]) == 0


def test_a_row_that_is_gone_is_not_measured_and_a_new_one_is_listed():
    result = check(cpu(), cpu(rows=("one", "two", "three", "five")))
    assert status(result, "four", "outcome") == "not measured"
    assert result.new == ("five",)
    assert not [g for g in result.gates if g.workload == "five"]
    assert exit_code([result]) == 4


def test_no_longer_fitting_is_a_regression_and_fitting_again_an_improvement():
    base = gpu({"allocated_peak_bytes": MIB, "reserved_peak_bytes": MIB}, rows=("one", "two"))
    full = with_outcome(base, "two", "oom")
    result = check(base, full)
    assert status(result, "two", "outcome") == "regressed"
    assert "no longer fits" in gate(result, "two", "outcome").sentence
    assert exit_code([result]) == 1
    assert status(check(full, base), "two", "outcome") == "improved"
    both = check(full, full)
    assert not [g for g in both.gates if g.workload == "two"]
    assert exit_code([both]) == 0


def test_running_out_of_memory_in_one_round_of_three_is_no_longer_fitting():
    base = gpu({"allocated_peak_bytes": MIB, "reserved_peak_bytes": MIB}, 3)
    lost = trial("one", 1, outcome="oom", device="cuda", evidence="measured")
    trials = (base.trials[0], lost, base.trials[2])
    result = check(base, base.model_copy(update={"trials": trials}))
    assert status(result, "one", "outcome") == "regressed"
    assert "1 of 3" in gate(result, "one", "outcome").sentence


def test_an_estimate_that_is_too_close_to_call_is_inconclusive():
    base = estimated()
    close = estimated(outcome="oom", fit="too close to call")
    assert status(check(base, close), "one", "outcome") == "inconclusive"
    assert status(check(base, estimated(outcome="oom", fit="does not fit")), "one", "outcome") == (
        "regressed"
    )
    assert status(check(base, estimated(fit="too close to call")), "one", "outcome") == "passed"


def test_an_estimate_of_which_a_round_crashed_is_not_measured():
    base = estimated(outcome="oom", fit="does not fit")
    twice = [one.model_copy(update={"id": "again", "round": 1}) for one in base.trials]
    plan = base.plan.model_copy(update={"rounds": 2})
    base = base.model_copy(update={"trials": (*base.trials, *twice), "plan": plan})
    lost = trial("one", 1, device="cuda", evidence="estimated", outcome="crashed")
    for before in (base, estimated()):
        after = base.model_copy(update={"trials": (base.trials[0], lost)})
        assert status(check(before, after), "one", "outcome") == "not measured"
    bare = estimated(outcome="oom", fit=None)
    assert not check(bare, bare).gates


def test_a_row_that_stopped_learning_is_not_measured():
    def learning(loss):
        return record([trial("one", 0, loss=loss), trial("two", 0)], judged=False)

    good, bad = learning((2.0, 1.0)), learning((2.0, 2.5))
    result = check(good, bad)
    assert [g.status for g in result.gates if g.workload == "one"] == ["not measured"]
    assert "did not fall" in gate(result, "one", "outcome").sentence
    # It never learnt: what it takes of memory is compared, and that is said.
    never = check(bad, bad)
    assert status(never, "one", "live") == "passed"
    assert any("one is compared although" in note for note in never.notes)


def test_the_speed_of_what_never_reported_a_loss_is_told():
    base = without_loss(cpu(9, noise=0.003, seed=1), "two")
    slow = without_loss(cpu(9, noise=0.003, seed=2, speed={"two": 0.5}), "two")
    result = check(base, slow)
    assert status(result, "two", "throughput") == "advice"
    assert "in the baseline it reports no loss" in gate(result, "two", "throughput").sentence
    assert exit_code([result]) == 0


@pytest.mark.parametrize(
    ("parts", "budget", "expected"),
    [
        ({"process_peak_bytes": 900 * MIB}, "900MiB", "passed"),
        ({"process_peak_bytes": 900 * MIB + 1}, "900MiB", "regressed"),
        # Cold memory counts, and so do context and libraries.
        ({"cold_reserved_peak_bytes": 700 * MIB}, "1000MiB", "passed"),
        ({"cold_reserved_peak_bytes": 701 * MIB}, "1000MiB", "regressed"),
    ],
)
def test_an_absolute_budget_is_held_whatever_the_baseline_took(parts, budget, expected):
    whole = {"allocated_peak_bytes": MIB, "reserved_peak_bytes": 600 * MIB} | parts
    made = gpu(whole, budget=Budget(debit_bytes=300 * MIB))
    result = check(made, made, rules(budget={"memory": budget}))
    assert status(result, "one", "budget") == expected
    assert not [g for g in check(made, made).gates if g.metric == "budget"]


def test_a_trials_own_debit_is_preferred_to_the_audits():
    base = gpu({"reserved_peak_bytes": 600 * MIB, "allocated_peak_bytes": MIB})
    debit = Debit(context_bytes=300 * MIB, step_bytes=500 * MIB, source="NVML, this process")
    made = base.model_copy(
        update={"trials": tuple(t.model_copy(update={"debit": debit}) for t in base.trials)}
    )
    assert gate(check(made, made, rules(budget={"memory": "2GiB"})), "one", "budget").current == (
        1100 * MIB
    )


def test_without_the_debit_only_too_much_is_known():
    made = gpu({"reserved_peak_bytes": 600 * MIB, "allocated_peak_bytes": MIB})
    assert status(check(made, made, rules(budget={"memory": "599MiB"})), "one", "budget") == (
        "regressed"
    )
    assert status(check(made, made, rules(budget={"memory": "5GiB"})), "one", "budget") == (
        "not measured"
    )


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("2600MiB", "passed"), ("2599MiB", "inconclusive"), ("2299MiB", "regressed")],
)
def test_an_estimates_range_may_be_too_close_to_call(budget, expected):
    result = check(estimated(), estimated(), rules(budget={"memory": budget}))
    assert status(result, "one", "budget") == expected


def test_a_workload_may_have_a_budget_of_its_own():
    made = cpu()
    result = check(made, made, rules(workloads={"two": {"budget": {"memory": "99MiB"}}}))
    assert status(result, "two", "budget") == "regressed"
    assert [g.workload for g in result.gates if g.metric == "budget"] == ["two"]


def test_gate_false_tells_and_does_not_judge():
    result = check(cpu(), cpu(memory={"one": 200 * MIB}), rules(live={"gate": False}))
    assert status(result, "one", "live") == "advice"
    assert exit_code([result]) == 3  # that everything still runs says nothing of its figures
    only = rules(workloads={"one": {"live": {"gate": False}}})
    assert code(cpu(), cpu(memory={"one": 200 * MIB}), only) == 0


def change(low, high, *, ratio=1.0, rounds=(9, 9), relative=True, finding="same", because=""):
    return SpeedChange(
        workload="one", relative=relative, ratio=ratio, low=low, high=high, rounds=rounds,
        finding=finding, reference="the others", because=because,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "rule", "expected"),
    [
        (0.80, 0.90, {}, "regressed"),
        (0.80, 0.96, {}, "regressed"),
        (0.80, 1.10, {}, "inconclusive"),  # a loss of 20 % may hide in it
        (0.91, 0.98, {}, "inconclusive"),  # it looks slower than may be
        (0.91, 1.05, {}, "passed"),
        (0.97, 1.01, {}, "passed"),
        (0.98, 1.20, {}, "passed"),
        (1.04, 1.20, {}, "improved"),
        (0.91, 1.05, {"exclude": 0.03}, "inconclusive"),
        (0.97, 1.05, {"exclude": 0.03}, "passed"),
        (0.80, 0.98, {"share": 0.20}, "passed"),
        (0.70, 0.90, {"share": 0.20}, "inconclusive"),
        (0.70, 0.79, {"share": 0.20}, "regressed"),
        (0.80, 0.96, {"exclude": 0.5}, "regressed"),
    ],
)
def test_all_of_an_interval_decides(low, high, rule, expected):
    found = change(low, high, ratio=(low * high) ** 0.5)
    assert speed_gate(found, SpeedFall(**rule), None, planned=(9, 9)).status == expected


def test_few_rounds_are_told_and_not_judged_unless_that_is_asked_for():
    few = change(None, None, ratio=0.5, rounds=(3, 9), finding="ratio only", because="few rounds")

    def judged(found, rule, mode, planned=(9, 9)):
        return speed_gate(found, rule, mode, planned=planned)

    assert judged(few, SpeedFall(), None, (3, 9)).status == "advice"
    assert "3 rounds before and 9 now" in judged(few, SpeedFall(), None, (3, 9)).sentence
    assert judged(few, SpeedFall(), "gate", (3, 9)).status == "inconclusive"
    # Rounds that were planned and are not there make no advice of a gate.
    lost = judged(few, SpeedFall(), None)
    assert lost.status == "inconclusive"
    assert "no verdict: 3 rounds before and 9 now have every row" in lost.sentence
    slow = change(0.5, 0.6)
    assert judged(slow, SpeedFall(), "advice").status == "advice"
    assert judged(slow, SpeedFall(gate=False), None).status == "advice"
    assert judged(slow, SpeedFall(gate=False), "gate").status == "regressed"


@pytest.mark.parametrize(
    ("because", "told"),
    [
        ("after, its trials were disturbed", "no verdict: in this run its trials were disturbed"),
        ("before, its trials were disturbed", "no verdict: in the baseline its trials were"),
        ("two is faster, or the first became slower", "no verdict: two is faster, or the first"),
    ],
)
def test_why_there_is_no_verdict_is_a_sentence(because, told):
    spoilt = change(0.5, 0.6, finding="inconclusive", because=because)
    found = speed_gate(spoilt, SpeedFall(), None, planned=(9, 9))
    assert found.status == "inconclusive"
    assert told in found.sentence


def test_a_slower_runner_changes_nothing_and_a_slower_row_does():
    base = cpu(9, noise=0.005, seed=1)
    slower = dict.fromkeys(ROWS, 0.6)
    assert code(base, cpu(9, noise=0.005, seed=2, speed=slower)) == 0
    result = check(base, cpu(9, noise=0.005, seed=3, speed={"two": 0.85}))
    assert status(result, "two", "throughput") == "regressed"
    assert {status(result, name, "throughput") for name in ROWS if name != "two"} == {"passed"}
    assert code(base, cpu(9, noise=0.005, seed=3), rules(throughput={"exclude": 0.03})) == 0
    assert code(base, cpu(9, noise=0.005, seed=3, speed={"two": 0.85}), throughput="off") == 0


def test_nothing_changed_rarely_says_otherwise_and_ten_percent_are_found():
    rows = tuple(f"w{number}" for number in range(17))
    unchanged, slower = [], []
    for seed in range(0, 120, 3):
        base, same, slow = (
            cpu(9, rows=rows, noise=0.02, seed=seed + n, speed={"w3": (1, 1, 0.9)[n]})
            for n in range(3)
        )
        unchanged.append(code(base, same))
        slower.append(code(base, slow))
    assert 1 not in unchanged
    assert unchanged.count(0) >= 36  # of 40
    assert slower.count(1) >= 38


def card(rounds, **more):
    """Four rows on one GPU."""
    return gpu({"allocated_peak_bytes": MIB, "reserved_peak_bytes": MIB}, rounds, rows=ROWS, **more)


def test_images_per_second_are_judged_only_on_one_and_the_same_gpu():
    all_slow = dict.fromkeys(ROWS, 0.6)
    base, slow = card(15, noise=0.003, seed=1), card(15, noise=0.003, seed=2, speed=all_slow)
    assert code(base, slow) == 1
    assert status(check(base, slow), "one", "absolute_throughput") == "regressed"
    assert code(base, slow, machines=("gpu uuid is X and was Y",)) == 0
    noted = check(base, slow, None, CheckOptions(machines=("gpu uuid is X and was Y",))).notes
    assert any("gpu uuid is X and was Y" in note for note in noted)
    assert code(base, slow, rules(throughput={"gate": False})) == 0
    base, slow = (cpu(15, noise=0.003, seed=n, speed=s) for n, s in ((1, {}), (2, all_slow)))
    assert code(base, slow) == 0  # a processor's name is no fingerprint
    assert any("the name of a processor" in note for note in check(base, slow).notes)


def test_two_kinds_of_speeds_share_the_error():
    base, after = (card(9, noise=0.01, seed=seed) for seed in (1, 2))

    def widths(metric, **options):
        result = check(base, after, None, CheckOptions(**options))
        low, high = gate(result, "two", metric).interval
        return high / low

    # What is only told takes nothing from what is judged.
    assert widths("throughput") > widths("throughput", machines=("gpu uuid is X and was Y",))
    assert gate(check(base, after), "two", "absolute_throughput").interval


def test_of_two_rows_a_faster_second_is_open_and_a_slower_one_regressed():
    def pair(seed, **speed):
        return cpu(9, rows=("one", "two"), noise=0.003, seed=seed, speed=speed)

    faster = check(pair(1), pair(2, two=1.3))
    assert status(faster, "two", "throughput") == "inconclusive"
    assert "or one became slower" in gate(faster, "two", "throughput").sentence
    assert status(check(pair(1), pair(2, one=0.7)), "two", "throughput") == "inconclusive"
    assert status(check(pair(1), pair(2, two=0.7)), "two", "throughput") == "regressed"


def test_a_single_row_has_no_relative_speed_and_that_is_said():
    one = cpu(9, rows=("one",))
    result = check(one, one)
    assert any("relative speeds are not gated" in note for note in result.notes)
    assert exit_code([result]) == 0


def test_evidence_recipes_and_budgets_are_never_mixed():
    with pytest.raises(UsageError, match=r"measured \(cpu\).*estimated"):
        check(cpu(), estimated())
    with pytest.raises(UsageError, match="batch is 8 and 16"):
        check(cpu(), cpu(batch=16))
    parts = {"allocated_peak_bytes": MIB}
    cards = [gpu(parts, budget=Budget(card=c, total_bytes=8 << 30)) for c in ("X", "Y")]
    with pytest.raises(UsageError, match="budgets differ"):
        check(*cards)
    totals = [gpu(parts, budget=Budget(card="X", total_bytes=t)) for t in (8 << 30, 9 << 30)]
    with pytest.raises(UsageError, match="budgets differ"):
        check(*totals)
    described = cpu(machine={"null_device": True})
    for pair in ((cpu(), described), (described, cpu())):
        with pytest.raises(UsageError, match="on a null device, and the other on a GPU"):
            check(*pair)
    near = [gpu(parts, budget=Budget(card="X", total_bytes=t)) for t in (8 << 30, (8 << 30) + 1)]
    assert any("offers" in note for note in check(*near).notes)


def test_another_torch_is_noted():
    other = cpu(machine={"versions": {"torch": "2.11.0"}})
    notes = check(cpu(), other).notes
    assert any("torch is 2.11.0 and was 2.14.1" in note for note in notes)


def test_a_figure_that_the_baseline_did_not_read_is_not_passed_over():
    base = unread(cpu(), "two", "live_tensor_peak_bytes", "it has no tensors of its own")
    result = check(base, cpu())
    found = gate(result, "two", "live")
    assert found.status == "not measured"
    assert (found.baseline, found.current) == (None, 100 * MIB)
    assert "not read in the baseline, it has no tensors of its own (it is 100 MiB)" in (
        found.sentence
    )
    assert exit_code([result]) == 4
    both = gate(check(base, base), "two", "live")
    assert both.status == "not measured"
    assert "not read in the baseline or now" in both.sentence
    assert code(base, base, rules(workloads={"two": {"live": {"gate": False}}})) == 0
    parts = {"allocated_peak_bytes": MIB, "reserved_peak_bytes": 2 * MIB}
    card = gpu(parts)
    for field, metric in (
        ("allocated_peak_bytes", "allocated"),
        ("reserved_peak_bytes", "reserved"),
    ):
        blind = unread(card, "one", field)
        assert status(check(blind, card), "one", metric) == "not measured"
        assert status(check(card, blind), "one", metric) == "not measured"
        assert code(blind, card) == code(card, blind) == 4


def test_where_no_figure_was_ever_read_nothing_was_judged():
    base = cpu(3)
    for name in ROWS:
        base = unread(base, name, "live_tensor_peak_bytes")
    assert code(base, base) == 3
    assert exit_code([check(base, base), check(cpu(), cpu())]) == 4


def test_one_missing_trial_turns_no_gate_off():
    base = cpu(5, noise=0.003, seed=1)
    slow = cpu(5, noise=0.003, seed=2, speed={"two": 0.5})
    assert code(base, slow) == 1
    for name in ROWS:
        short = without_trial(slow, name, 4)
        result = check(base, short)
        assert status(result, "two", "throughput") == "inconclusive"
        assert status(result, name, "outcome") == "inconclusive"
        assert "only 4 of its 5 rounds" in gate(result, name, "outcome").sentence
        assert any("1 of its trials is missing" in note for note in result.notes)
        assert exit_code([result]) == 4
        result = check(without_trial(base, name, 4), slow)
        assert status(result, "two", "throughput") == "inconclusive"
        assert any("the baseline is not complete" in note for note in result.notes)


def test_a_result_that_is_not_complete_never_passes():
    base = cpu(9, noise=0.003, seed=1)
    more = cpu(9, noise=0.003, seed=2, rows=(*ROWS, "five"))
    assert code(base, more) == 0
    assert code(base, without_trial(more, "five", 8)) == 4
    assert code(base, without_trial(more, "one", 8)) == 4
    assert code(base, without_trial(more, "one", 8), throughput="off") == 4


def test_records_without_a_common_round_have_speeds_that_are_not_measured():
    base = card(5, noise=0.003, seed=1)
    apart = base
    for number, name in enumerate((*ROWS, "one")):
        apart = without_trial(apart, name, number)
    for result in (check(base, apart), check(apart, base)):
        assert {status(result, name, "throughput") for name in ROWS} == {"not measured"}
        assert {status(result, name, "absolute_throughput") for name in ROWS} == {"not measured"}


def test_a_trial_that_was_disturbed_in_the_baseline_leaves_the_answer_open():
    base = cpu(9, noise=0.003, seed=1)
    slow = cpu(9, noise=0.003, seed=2, speed={"two": 0.5})
    for result, where in (
        (check(disturbed(base, "two", 3), slow), "in the baseline its trials were disturbed"),
        (check(base, disturbed(slow, "two", 3)), "in this run its trials were disturbed"),
    ):
        found = gate(result, "two", "throughput")
        assert found.status == "inconclusive"
        assert where in found.sentence
        assert exit_code([result]) == 4


PEAKS = {"allocated_peak_bytes": MIB, "reserved_peak_bytes": MIB}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("ok ok ok", "ok ok ok", "passed"),
        ("ok ok ok", "oom oom oom", "regressed"),
        ("ok ok ok", "oom oom crashed", "regressed"),
        ("ok ok ok", "ok oom timeout", "regressed"),
        ("ok ok ok", "ok ok crashed", "not measured"),
        ("ok ok ok", "oom oom refused", "not measured"),
        ("ok oom ok", "oom oom oom", "inconclusive"),
        ("ok oom ok", "ok oom ok", "inconclusive"),
        ("ok oom ok", "ok ok ok", "inconclusive"),
        ("ok oom ok", "oom oom crashed", "inconclusive"),
        ("ok oom ok", "ok ok crashed", "not measured"),
        ("oom oom oom", "ok ok ok", "improved"),
        ("oom oom oom", "ok ok crashed", "not measured"),
        ("oom oom oom", "oom oom oom", None),
        ("oom oom oom", "ok oom ok", None),
        ("ok ok crashed", "ok ok ok", None),
    ],
)
def test_outcomes_of_all_rounds_decide(before, after, expected):
    made = gpu(PEAKS, 3, rows=("one", "two"))
    was, now = (with_outcomes(made, "two", words.split()) for words in (before, after))
    result = check(was, now)
    found = [g for g in result.gates if g.workload == "two"]
    if expected is None:
        assert not found
        assert any(note.startswith("two is not gated") for note in result.notes)
        return
    assert found[0].metric == "outcome"
    assert found[0].status == expected
    assert exit_code([result]) == {"passed": 0, "improved": 0, "regressed": 1}.get(expected, 4)
    if len(set(before.split())) > 1 or len(set(after.split())) > 1:
        assert " of 3 " in found[0].sentence


def test_what_rounding_hides_is_told_to_the_byte():
    found = gate(check(cpu(), cpu(memory={"two": 100 * MIB + MIB // 2 + 1})), "two", "live")
    assert found.sentence == (
        "two: the peak of live tensors rose from 100 MiB to 101 MiB (+524,289 B, +0.5%); "
        "at most +524,288 B is allowed"
    )
    fell = gate(check(cpu(), cpu(memory={"two": 100 * MIB - 1})), "two", "live")
    assert fell.sentence == (
        "two: the peak of live tensors fell from 104,857,600 B to 104,857,599 B (-1 B, -0.0%)"
    )
    made = gpu({**PEAKS, "process_peak_bytes": 900 * MIB + 1})
    held = gate(check(made, made, rules(budget={"memory": "900MiB"})), "one", "budget")
    assert "943,718,401 B of the 943,718,400 B allowed" in held.sentence
    flops = rise_gate(
        "w",
        "useful_flops",
        "it",
        "FLOPs",
        rules().flops,
        *[Figure(low=n, high=n) for n in (10**12, 10**12 + 1)],
    )
    assert "from 1,000,000,000,000 FLOPs to 1,000,000,000,001 FLOPs (+1 FLOPs" in flops.sentence


@given(st.lists(st.integers(0, 2**50), min_size=2, max_size=3))
def test_two_values_that_differ_never_read_the_same(values):
    for unit in ("bytes", "FLOPs", "operators"):
        exact = are_tied(values, unit)
        texts = {value: told(value, unit, exact=exact) for value in values}
        assert len(set(texts.values())) == len(texts)
        if not exact and unit == "bytes":
            sizes = [round(float(t.split()[0].replace(",", "")), 2) for t in texts.values()]
            units = [t.split()[1] for t in texts.values()]
            assert len(set(zip(sizes, units, strict=True))) == len(texts)


STATUS = st.sampled_from(
    ["regressed", "inconclusive", "not measured", "improved", "advice", "passed"]
)


METRIC = st.sampled_from(["live", "outcome", "throughput"])


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(METRIC, STATUS), max_size=5), st.integers(0, 1)),
        min_size=1,
        max_size=3,
    )
)
def test_exit_codes_follow_from_the_gates_and_what_is_missing(lists):
    results = [
        CheckResult(
            gates=tuple(
                GateResult(workload="w", metric=metric, status=one, sentence="s")
                for metric, one in found
            ),
            missing=missing,
        )
        for found, missing in lists
    ]
    found = exit_code(results)
    flat = {pair for pairs, _ in lists for pair in pairs}
    statuses = {one for _, one in flat}
    judged = {one for one in flat if one[1] not in ("not measured", "advice")}
    assert (found == 1) == ("regressed" in statuses)
    assert (found == 3) == (judged <= {("outcome", "passed")})
    if found == 0:
        assert statuses <= {"passed", "improved", "advice"}
        for pairs, missing in lists:
            assert not missing
            assert {("live", "passed"), ("throughput", "passed")} & set(pairs) or any(
                one == "improved" for _, one in pairs
            )


def on_null_device(size=100 * MIB):
    made = gpu({"allocated_peak_bytes": size, "reserved_peak_bytes": size}, evidence="emulated")
    untimed = {"throughput": None, "loss": None}
    machine = made.machine.model_copy(update={"null_device": True})
    trials = tuple(trial.model_copy(update=untimed) for trial in made.trials)
    return made.model_copy(update={"machine": machine, "trials": trials})


def test_on_a_null_device_memory_is_gated_and_speed_is_not():
    result = check(on_null_device(), on_null_device(200 * MIB))
    assert {gate.metric: gate.status for gate in result.gates} == {
        "outcome": "passed", "allocated": "regressed", "reserved": "regressed",
    }  # fmt: skip
    assert exit_code([result]) == 1
    with pytest.raises(UsageError, match="a null device gives no verdict on throughput"):
        check(on_null_device(), on_null_device(), options=CheckOptions(throughput="gate"))
