import json
import os

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import claim, record, trial

from ffprof.errors import RecordError, StoreError
from ffprof.records import files, store


@pytest.fixture
def made():
    trials = [trial("a", r, speed=100 + r) for r in range(3)] + [trial("b", 0, outcome="oom")]
    return record(trials, claims=[claim("a", "b", "memory")])


def test_a_record_survives_the_disk(tmp_path, made):
    path = tmp_path / "audit.json"
    store.save(made, path)
    assert store.load(path) == made
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_records_keep_to_the_published_schema(made):
    jsonschema.validate(json.loads(made.model_dump_json()), store.json_schema())


def test_the_published_schema_is_the_present_one(pytestconfig):
    path = pytestconfig.rootpath / "docs" / "record.schema.json"
    assert path.read_text() == store.json_schema_text(), (
        "write it again: python -m ffprof.records.schema > docs/record.schema.json"
    )


def _problem(path):
    with pytest.raises(RecordError) as caught:
        store.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_absent_folder_and_unreadable(tmp_path):
    assert "no result file" in _problem(tmp_path / "none.json")
    assert "not a file" in _problem(tmp_path)
    assert "cannot read" in _problem(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'{"schema_version": true}',
        b'{"schema_version": "1"}',
        b'{"schema_version": 1}',
        b"\x00\xff\xfe",
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"schema_version": 1, "trials": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_damaged_files_are_one_clear_line(tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_bytes(text)
    assert "ffprof run" in _problem(path)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path, made):
    document = json.loads(made.model_dump_json()) | {"schema_version": 2, "novelty": []}
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(document))
    assert "upgrade" in _problem(path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("recipe_hash", "0" * 64, "edited"),
        ("evidence", "measured", "evidence"),
        ("trials", [{"id": "x"}], "trials.0"),
        ("created", "yesterday", "created"),
    ],
)
def test_the_bad_field_is_named(tmp_path, made, field, value, said):
    document = json.loads(made.model_dump_json()) | {field: value}
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(document))
    assert said in _problem(path)


def test_two_trials_with_one_name_are_refused(tmp_path, made):
    document = json.loads(made.model_dump_json())
    document["trials"].append(document["trials"][0])
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(document))
    assert "same id" in _problem(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_random_bytes_never_crash_the_reader(tmp_path, data):
    path = tmp_path / "audit.json"
    path.write_bytes(data)
    _problem(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_record_with_one_damaged_byte_is_read_or_refused(tmp_path, made, data):
    text = bytearray(made.model_dump_json().encode())
    where = data.draw(st.integers(0, len(text) - 1))
    text[where] = data.draw(st.integers(0, 255))
    path = tmp_path / "audit.json"
    path.write_bytes(bytes(text))
    try:
        store.load(path)
    except RecordError as error:
        assert "\n" not in str(error)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, made, monkeypatch):
    path = tmp_path / "audit.json"
    store.save(made, path)
    before = path.read_bytes()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreError, match="No space left"):
        store.save(made.model_copy(update={"notes": ("new",)}), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path, made, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.save(made, tmp_path / "audit.json")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written_to(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StoreError, match="--out"):
        files.prepare_folder(blocker / "below")


def test_a_folder_stands_for_its_newest_record(tmp_path, made):
    with pytest.raises(RecordError, match="no result file"):
        store.find_record(tmp_path)
    store.save(made, tmp_path / "audit-a.json")
    assert store.find_record(tmp_path) == tmp_path / "audit-a.json"
    store.save(made, tmp_path / "audit-0.json")
    os.utime(tmp_path / "audit-a.json", (1, 1))
    assert store.find_record(tmp_path) == tmp_path / "audit-0.json"  # the newest
    with pytest.raises(RecordError, match="cannot read"):
        store.find_record(tmp_path / ("x" * 5000))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in _problem(tmp_path / "pipe")


def test_missing_trials_are_known(made):
    assert made.missing() == [(1, "b"), (2, "b")]
