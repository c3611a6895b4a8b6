"""From an audit to a calibration, and what is printed of it."""

import io
import math

import pytest
from calibrations import calibrated, noisy_audit
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from records import record, trial
from rich.console import Console

from ffprof.analysis.statistics.looks import LOOKS
from ffprof.analysis.statistics.noise import noise_of
from ffprof.errors import NothingMeasuredError, RecordError, UsageError
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.store import (
    RESULT_FILES,
    find_record,
    load_any,
    load_frontier,
    save,
)
from ffprof.report.calibration import calibration_document, percent
from ffprof.report.exporters.markdown import render
from ffprof.report.exporters.terminal import print_document
from ffprof.report.kinds import document_of


def printed(made, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    print_document(document_of(made), console)
    return console.export_text()


def flowed(made, width=80):
    return " ".join(printed(made, width).split())


def test_numbers_are_those_of_the_trials():
    audit = noisy_audit()
    made = calibrated(audit)
    logs = [
        [math.log(t.throughput.images_per_second) for t in audit.trials if t.workload == name]
        for name in "abc"
    ]
    assert [row.sd for row in made.noise] == [noise.sd for noise in noise_of(logs)]
    assert made.rounds == 10
    assert {row.freedom for row in made.noise} == {9}
    assert made.drift.sd > made.drift.expected
    assert [v.rounds for v in made.noise[0].visible] == list(LOOKS)
    shares = [v.share for v in made.noise[0].visible]
    assert shares == sorted(shares, reverse=True)
    assert made.recipe == audit.recipe
    assert made.machine == audit.machine
    assert made.created == audit.created
    assert made.false_alarms == ()


def test_arms_that_differ_are_a_false_alarm_and_are_told():
    made = calibrated(noisy_audit(sd=0.005, names=tuple("abcde"), change={"a": -0.3}))
    assert [arm.workload for arm in made.false_alarms] == ["a"]
    assert made.false_alarms[0].finding == "slower"
    assert made.false_alarms[0].ratio == pytest.approx(math.exp(-0.3), rel=0.02)
    assert "1 changed by what was found, though nothing was changed" in flowed(made)
    assert "a: slower, 0.74x" in flowed(made)
    assert "do not trust verdicts on speed" in flowed(made)


def test_a_whole_machine_that_changes_is_no_false_alarm():
    audit = noisy_audit(sd=0.01, change=dict.fromkeys("abc", -0.3))
    assert calibrated(audit).false_alarms == ()


def test_rarely_is_there_a_false_alarm_where_there_is_none():
    alarms = sum(bool(calibrated(noisy_audit(seed=n)).false_alarms) for n in range(60))
    assert alarms <= 3  # one in 300 or fewer is what a look may be wrong


def test_halves_below_the_first_look_say_so():
    made = calibrated(noisy_audit(rounds=8))
    assert {arm.finding for arm in made.arms} == {"ratio only"}
    assert "not tried: halves of 4 rounds" in flowed(made)


@pytest.mark.parametrize(("rounds", "used"), [(6, 6), (7, 6), (9, 8), (10, 10), (11, 10)])
def test_rounds_are_an_even_number(rounds, used):
    made = calibrated(noisy_audit(rounds=rounds))
    assert made.rounds == used
    assert any("rounds are used" in note for note in made.notes) == (rounds != used)


def test_a_round_that_lacks_a_trial_does_not_count():
    audit = noisy_audit(rounds=9)
    kept = tuple(t for t in audit.trials if (t.round, t.workload) != (2, "b"))
    made = calibrated(audit.model_copy(update={"trials": kept}))
    assert made.rounds == 8
    without = tuple(t for t in audit.trials if t.round != 2)
    assert made.noise == calibrated(audit.model_copy(update={"trials": without})).noise
    assert calibrated(audit.model_copy(update={"trials": kept}), workloads=["a", "c"]).rounds == 8


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_too_few_rounds_are_one_line(rounds):
    with pytest.raises(NothingMeasuredError, match=f"has {rounds} complete rounds"):
        calibrated(noisy_audit(rounds=rounds))


def test_a_row_that_failed_is_named_and_can_be_left_out():
    audit = noisy_audit()
    failing = [
        trial("b", t.round, outcome="oom", message="out of memory") if t.id == "r03-b" else t
        for t in audit.trials
    ]
    audit = audit.model_copy(update={"trials": tuple(failing)})
    with pytest.raises(NothingMeasuredError, match=r"b failed .*: oom in 1 of 10 trials") as told:
        calibrated(audit)
    assert "--workloads a,c" in told.value.fix
    assert [row.workload for row in calibrated(audit, workloads=["c", "a"]).noise] == ["a", "c"]


def test_estimates_and_strangers_are_refused():
    estimated = record(
        [trial("a", 0, evidence="estimated", device="cuda")], evidence="estimated", judged=False
    )
    with pytest.raises(UsageError, match="estimated, not measured"):
        calibrated(estimated)
    untimed = [trial("a", 0, evidence="emulated", device="cuda", throughput=None)]
    machine = {"null_device": True}
    null = record(untimed, evidence="emulated", judged=False, machine=machine)
    with pytest.raises(UsageError, match="made on a null device, which has no speeds"):
        calibrated(null)
    with pytest.raises(UsageError, match="no workload 'x'"):
        calibrated(noisy_audit(), workloads=["a", "x"])


def test_one_workload_is_calibrated_with_a_warning():
    made = calibrated(noisy_audit(names=("a",)))
    assert made.drift is None
    assert made.claims == 1
    assert any("cannot be separated from the drift" in note for note in made.notes)
    assert made.noise[0].sd > 0.05  # the machine's drift is in it


def test_two_speeds_are_told_in_words():
    audit = noisy_audit(rounds=18, sd=0.004, names=tuple("abcdefgh"))
    trials = []
    for one in audit.trials:
        speed = one.throughput.images_per_second * (1.2 if one.round % 3 == 0 else 1)
        made = one.throughput.model_copy(update={"images_per_second": speed})
        trials.append(one.model_copy(update={"throughput": made}) if one.workload == "c" else one)
    made = calibrated(audit.model_copy(update={"trials": tuple(trials)}))
    assert [row.workload for row in made.noise if row.speeds] == ["c"]
    assert "c: two speeds: 6 of 18 processes run about 20 % faster than the others;" in flowed(made)


def test_three_rows_cannot_tell_which_has_two_speeds():
    audit = noisy_audit(sd=0.002, change={"b": 0.2})
    told = [row.speeds for row in calibrated(audit).noise]
    assert all(told)
    assert all("3 rows cannot tell" in words for words in told)


# ---- the record


def test_it_is_stored_and_read_again(tmp_path):
    made = calibrated(noisy_audit())
    path = tmp_path / "calibration-a.json"
    save(made, path)
    assert load_any(path) == made
    assert find_record(tmp_path, RESULT_FILES) == path
    with pytest.raises(RecordError, match="holds neither a frontier"):
        load_frontier(path)
    save(noisy_audit(), tmp_path / "audit-b.json")
    assert load_any(tmp_path / "audit-b.json") == noisy_audit()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 2}, "schema 2"),
        ({"noise": []}, "noise"),
        ({"evidence": "estimated"}, "no noise"),
        ({"rounds": 0}, "rounds"),
        ({"audit_sha256": "x"}, "audit_sha256"),
        ({"strange": 1}, "strange"),
    ],
)
def test_a_damaged_one_is_one_line(tmp_path, change, problem):
    import json

    path = tmp_path / "calibration-a.json"
    document = json.loads(calibrated(noisy_audit()).model_dump_json()) | change
    path.write_text(json.dumps(document))
    with pytest.raises(RecordError, match=problem) as told:
        load_any(path)
    assert "\n" not in str(told.value)


def test_rows_must_be_different_and_arms_theirs():
    made = calibrated(noisy_audit())
    with pytest.raises(ValidationError, match="same workload"):
        CalibrationRecord.model_validate(made.model_dump() | {"noise": [made.noise[0]] * 2})
    with pytest.raises(ValidationError, match="without noise"):
        CalibrationRecord.model_validate(made.model_dump() | {"noise": made.noise[:1]})


@given(st.lists(st.lists(st.floats(1e-9, 1e15), min_size=10, max_size=10), min_size=1, max_size=7))
def test_no_rates_make_it_fail(rates):
    names = [f"w{n}" for n in range(len(rates))]
    audit = record(
        [
            trial(name, number, speed=speed)
            for name, row in zip(names, rates, strict=True)
            for number, speed in enumerate(row)
        ],
        workloads=names,
        judged=False,
    )
    made = calibrated(audit)
    assert CalibrationRecord.model_validate_json(made.model_dump_json()) == made
    printed(made)


# ---- the report


def test_tables_fit_80_columns_and_use_wide_ones():
    made = calibrated(noisy_audit(names=("a-workload-with-a-long", "b", "c")))
    lines = printed(made).splitlines()
    assert max(map(len, lines)) <= 80
    table = [line for line in lines if line.startswith("a-workload")]
    assert table[0].count("%") == 4
    assert "A/A" in printed(made, 140).splitlines()[5]
    assert "| workload |" in render(calibration_document(made))


def test_the_advice_follows_from_the_numbers():
    quiet = flowed(calibrated(noisy_audit(sd=0.002, drift=0.0)))
    assert "close other programs" not in quiet
    assert "no drift of the machine can be seen" in quiet
    loud = flowed(calibrated(noisy_audit(sd=0.2)))
    assert "processes differ by more than 5 % in 3 of 3 rows: close other programs" in loud
    moving = flowed(calibrated(noisy_audit(sd=0.01, drift=0.3)))
    assert "the speed of the machine itself changes" in moving


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, "0 %"),
        (0.008, "0.8 %"),
        (0.05, "5 %"),
        (0.0421, "4.2 %"),
        (0.0996, "10 %"),
        (1, "100 %"),
    ],
)
def test_shares_are_short(share, told):
    assert percent(share) == told
