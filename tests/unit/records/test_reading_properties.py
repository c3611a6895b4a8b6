"""Whatever a file holds, it is refused in one line, or goes through all that reads it."""

import json
import random
import resource
import subprocess
import sys

import pytest
from frontiers import frontier, point
from hostile_records import KINDS, Damage, originals
from hostile_thresholds import THRESHOLD_KINDS, WHOLE, ThresholdDamage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import recipe, record, trial
from surviving import printed, read_or_refused, survives, thresholds_or_refused

from ffprof.errors import RecordError, UsageError
from ffprof.experiments.selection import check_rounds
from ffprof.records import store
from ffprof.records.audit import GradientProof, LedgerRow, Plan, Record
from ffprof.records.store import load_any
from ffprof.report.exporters.markdown import render
from ffprof.report.kinds import document_of, json_of

ON_DISK = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


def refused(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(RecordError) as caught:
        load_any(path)
    told = str(caught.value)
    assert told.isprintable() and len(told) < 1500
    return told


@pytest.fixture
def bare():
    return json.loads(record([trial("a", 0)]).model_dump_json())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit-a.json"


def test_what_is_damaged_is_valid_before(path):
    assert {"frontier", "capacity", "audit-small-cpu"} <= originals().keys()
    for text in originals().values():
        path.write_text(text)
        survives(load_any(path))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_does_some(kind):
    made = {Damage(random.Random(seed)).make(kind) for seed in range(20)}
    assert len(made) > 3


@ON_DISK
@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_damaged_files_are_refused_in_one_line_or_survive(path, kind, seed):
    path.write_bytes(Damage(random.Random(seed)).make(kind))
    found = read_or_refused(path)
    if found is not None:
        survives(found)


@ON_DISK
@given(st.sampled_from(THRESHOLD_KINDS), st.integers(0, 2**32))
def test_damaged_thresholds_are_refused_in_one_line_or_hold(path, kind, seed):
    path.write_bytes(ThresholdDamage(random.Random(seed)).make(kind))
    thresholds_or_refused(path)


def test_the_thresholds_are_valid_before(path):
    path.write_text(WHOLE)
    assert tuple(thresholds_or_refused(path).workloads) == ("one", "two")


@ON_DISK
@given(st.sampled_from(["plan", "trials", "ledger", "machine", "notes", "kind", "x"]), JSON)
def test_any_json_in_the_place_of_a_field(path, field, value):
    document = json.loads(originals()["audit-cifar-cpu"]) | {field: value}
    path.write_text(json.dumps(document))
    found = read_or_refused(path)
    if found is not None:
        survives(found)


@ON_DISK
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_json_for_a_terminal_is_the_same_json(text):
    made = record([trial("a", 0)]).model_copy(update={"notes": (text,)})
    printed(json_of(made))
    read = Record.model_validate_json(json_of(made)).model_copy(update={"digest": ""})
    assert read == made


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trials": [{}] * 100_000}, "trials.0.id"),
        ({"discarded": [{}] * 100_000}, "discarded.0.id"),
        ({"verdicts": [0] * 10_000}, "verdicts.0"),
        ({"notes": [1] * 200_000}, "notes.0: Input should be a valid string"),
        ({"notes": [f"{n:010}" for n in range(3_000_000)]}, "notes: Tuple should have at most"),
        ({"x": [0] * 5_000_000}, "x: Extra"),
        ({"x": [[]] * 1_000_000}, "more lists than any record"),
        ({"noise": {str(n): -1 for n in range(100_000)}}, "100,000 things are wrong"),
        ({str(n): 1 for n in range(100_000)}, "100,000 things are wrong"),
    ],
    ids=["trials", "discarded", "verdicts", "notes", "many", "numbers", "lists", "noise", "keys"],
)
def test_small_files_do_not_fill_the_memory(path, bare, changes, said):
    path.write_text(json.dumps(bare | changes))
    code = """if True:
        import resource, sys
        from ffprof.records.store import load_any
        from ffprof.errors import RecordError
        begun = resource.getrusage(resource.RUSAGE_SELF)
        try:
            load_any(sys.argv[1])
        except RecordError as error:
            print(error)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print((used.ru_maxrss - begun.ru_maxrss) // 1024, used.ru_utime - begun.ru_utime)
        """
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    told, figures = done.stdout.splitlines()
    assert said in told and len(told) < 1500
    megabytes, seconds = map(float, figures.split())
    assert megabytes < 250 and seconds < 10  # of the processor, and of a slow one
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 10_000  # it is in kB


def test_a_plan_asks_for_no_more_than_a_record_holds(path, bare):
    names = [f"w{n}" for n in range(10_000)]
    bare["plan"] |= {"workloads": ["a", *names[1:]], "rounds": 10_000}
    assert "10,000 rounds of 10,000 workloads" in refused(path, bare)
    bare["plan"] |= {"workloads": ["a", "a"], "rounds": 1}
    assert "planned twice" in refused(path, bare)
    check_rounds(1000, 100)
    with pytest.raises(UsageError, match=r"--rounds 1000: .* more than 100,000 trials"):
        check_rounds(1000, 101)


def test_a_frontier_asks_for_no_more_than_a_record_holds(path):
    document = json.loads(frontier("frontier").model_dump_json()) | {"rounds": 10**9}
    assert "more than 100,000 trials" in refused(path, document)


def test_an_estimated_frontier_has_no_trials(path):
    one = trial("a", 0, evidence="estimated").model_dump(mode="json") | {"throughput": None}
    document = json.loads(frontier("frontier", evidence="estimated").model_dump_json())
    document["points"][0]["trials"] = [one]
    assert "has no trials" in refused(path, document)


def test_a_table_of_facts_has_its_bounds(path, bare):
    facts = {f"w{n}": {"facts": {f"f{n}": 1}} for n in range(1001)}
    assert "ledger: 1,001 facts of 1,001 workloads" in refused(path, bare | {"ledger": facts})


@pytest.mark.parametrize("rows", [("audit", 10_000), ("frontier", 10_000)])
def test_the_largest_tables_are_made_in_one_pass(rows):
    kind, count = rows
    if kind == "audit":
        made = record([trial(f"w{n}", 0) for n in range(count)])
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        assert render(document_of(made)).count("\n| w") == count + 1
    else:
        points = tuple(point(f"w{n}", 8, method=f"m{n}") for n in range(count))
        made = frontier("frontier", points=points)
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        assert render(document_of(made)).count("\n| w") == 2 * count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun < 10


def test_many_digits_are_not_printed(path, bare):
    assert "schema 99999" in refused(path, '{"schema_version": ' + "9" * 4000 + "}")
    assert "not JSON" in refused(path, '{"schema_version": ' + "9" * 5000 + "}")
    bare["trials"][0]["micro_batch"] = 10**400
    assert "trials.0.micro_batch" in refused(path, bare)
    del bare["trials"][0]
    assert "x" * 200 in refused(path, bare | {"x" * 100_000: 1})


def test_gradients_that_differ_by_an_unknown_most():
    proof = GradientProof(
        reference="a", relative_difference=0.5, max_relative_difference=None, batch=2,
        micro_batch=1, image_size=16, tolerance=1e-6, equal=False,
    )  # fmt: skip
    made = record([trial("b", 0)])
    made = made.model_copy(update={"ledger": {"b": LedgerRow(gradient=proof)}})
    assert "differs from a by 50.00% of its norm (2 images" in render(document_of(made)).replace(
        "\\", ""
    )


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "\x1b[2J\n", "a" * 5000, ""])
def test_odd_names_of_files(name, tmp_path):
    for reader in (store.load, load_any):
        with pytest.raises(RecordError) as caught:
            reader(tmp_path / name)
        assert str(caught.value).isprintable()


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MOST_BYTES", 100)
    path = tmp_path / "audit-a.json"
    path.write_text(" " * 101)
    with pytest.raises(RecordError, match="larger than any record"):
        load_any(path)


def test_a_plan_of_the_largest_size_is_searched_in_no_time():
    names = tuple(f"w{n}" for n in range(1000))
    plan = Plan(workloads=names, rounds=100, trial_limit_seconds=1.0)
    made = record([trial("w0", 0)]).model_copy(update={"plan": plan})
    assert len(made.missing()) == 100 * 1000 - 1
    assert recipe().digest() == made.recipe_hash
