import json

import pytest
from command import ffprof
from frontiers import capacity, frontier, tried
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from records import record, trial

from ffprof.errors import RecordError
from ffprof.experiments.capacity.search import Search
from ffprof.records import store


@pytest.fixture
def audit():
    return record([trial("a", 0)])


@pytest.mark.parametrize("kind", ["frontier", "capacity"])
def test_it_survives_the_disk(tmp_path, kind):
    made, path = frontier(kind), tmp_path / f"{kind}-x.json"
    store.save(made, path)
    assert store.load_frontier(path) == made
    assert store.load_any(path) == made
    assert store.find_record(tmp_path, store.RESULT_FILES) == path
    with pytest.raises(RecordError, match="no result file"):
        store.find_record(tmp_path)


def test_an_audit_is_told_apart(tmp_path, audit):
    path, other = tmp_path / "audit-a.json", tmp_path / "capacity-a.json"
    store.save(audit, path)
    store.save(frontier(), other)
    assert store.load_any(path) == audit
    with pytest.raises(RecordError, match="neither a frontier nor"):
        store.load_frontier(path)
    with pytest.raises(RecordError, match="holds a 'capacity', not an audit"):
        store.load(other)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kind", "audit", "neither"),
        ("kind", None, "neither"),
        ("kind", ["capacity"], "neither"),
        ("schema_version", 2, "upgrade"),
        ("schema_version", True, "no readable"),
        ("capacities", [{"workload": "x"}], "capacities.0"),
        ("novelty", 1, "novelty"),
        ("capacities", [], "with nothing in it"),
        ("kind", "frontier", "a frontier has no capacities"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, field, value, said):
    path = tmp_path / "capacity-a.json"
    path.write_text(json.dumps(json.loads(frontier().model_dump_json()) | {field: value}))
    with pytest.raises(RecordError) as caught:
        store.load_frontier(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(RecordError):
        store.load_any(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first_failing": 8}, "larger than what fits"),
        ({"first_failing": 10}, "not the next size"),
        ({"first_failing": None}, "not the next size"),
        ({"unit": 2}, "not the next size"),
        ({"tried": (tried(9, "oom"),)}, "8 was not run"),
        ({"tried": (tried(8, evidence="estimated"), tried(9, "oom"))}, "8 was not run"),
        ({"tried": (tried(8),)}, "no run of 9 failed"),
        ({"tried": (tried(8), tried(9, "crashed"))}, "no run of 9 failed"),
        (
            {"tried": (tried(8), tried(9, "oom", "estimated", fit="too close to call")),
             "message": "told"},
            "no run of 9 failed",
        ),
        ({"tried": (tried(8), tried(9, "oom", "estimated", fit="does not fit"))}, "is given"),
    ],
)  # fmt: skip
def test_a_proof_must_hold(changes, said):
    with pytest.raises(ValidationError, match=said):
        capacity(**changes)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 3), st.integers(1, 12), st.booleans())
def test_whatever_a_search_finds_can_be_recorded(start, border, losses, runs, clear):
    def probe(size):
        return tried(size, "ok" if size <= border else "oom")

    def guess(size):
        fit = "does not fit" if clear and size > border else "too close to call"
        return tried(size, "oom", "estimated", fit=fit)

    found = Search(probe, proposal=start, cap=50, guess=guess, max_oom=losses, max_runs=runs).run()
    made = capacity(
        largest=found.largest, first_failing=found.first_failing, proven=found.proven,
        tried=found.tried, message=found.message,
    )  # fmt: skip
    assert not made.proven or made.largest == min(border, 50)


@pytest.mark.parametrize("kind", ["frontier", "capacity"])
def test_a_report_of_nothing_is_one_line(tmp_path, kind):
    path = tmp_path / f"{kind}-a.json"
    bare = json.loads(frontier(kind).model_dump_json()) | {"points": [], "capacities": []}
    path.write_text(json.dumps(bare))
    done = ffprof("report", path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "with nothing in it" in done.stderr


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_damaged_byte_is_read_or_refused(tmp_path, data):
    text = bytearray(frontier().model_dump_json().encode())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "capacity-a.json"
    path.write_bytes(bytes(text))
    for load in (store.load_frontier, store.load_any):
        try:
            load(path)
        except RecordError as error:
            assert "\n" not in str(error)
