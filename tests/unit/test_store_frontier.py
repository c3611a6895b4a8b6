import json

import pytest
from frontiers import frontier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import record, trial

from ffprof.audit import store, store_frontier
from ffprof.errors import RecordError


@pytest.fixture
def audit():
    return record([trial("a", 0)])


@pytest.mark.parametrize("kind", ["frontier", "capacity"])
def test_it_survives_the_disk(tmp_path, kind):
    made, path = frontier(kind), tmp_path / f"{kind}-x.json"
    store_frontier.save_frontier(made, path)
    assert store_frontier.load_frontier(path) == made
    assert store_frontier.load_any(path) == made
    assert store.find_record(tmp_path, store_frontier.RESULT_FILES) == path
    with pytest.raises(RecordError, match="no result file"):
        store.find_record(tmp_path)


def test_an_audit_is_told_apart(tmp_path, audit):
    path, other = tmp_path / "audit-a.json", tmp_path / "capacity-a.json"
    store.save(audit, path)
    store_frontier.save_frontier(frontier(), other)
    assert store_frontier.load_any(path) == audit
    with pytest.raises(RecordError, match="neither a frontier nor"):
        store_frontier.load_frontier(path)
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
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, field, value, said):
    path = tmp_path / "capacity-a.json"
    path.write_text(json.dumps(json.loads(frontier().model_dump_json()) | {field: value}))
    with pytest.raises(RecordError) as caught:
        store_frontier.load_frontier(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(RecordError):
        store_frontier.load_any(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_damaged_byte_is_read_or_refused(tmp_path, data):
    text = bytearray(frontier().model_dump_json().encode())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "capacity-a.json"
    path.write_bytes(bytes(text))
    for load in (store_frontier.load_frontier, store_frontier.load_any):
        try:
            load(path)
        except RecordError as error:
            assert "\n" not in str(error)
