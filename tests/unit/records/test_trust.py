"""What a file says of itself: its digest, figures that cannot be, secrets, and what it is."""

import hashlib
import json
import typing

import pytest
from frontiers import frontier
from records import MIB, record, trial
from studies import run, study

from ffprof.errors import RecordError, StoreError, UsageError
from ffprof.experiments.selection import check_rounds
from ffprof.records import store
from ffprof.records.audit import Record
from ffprof.records.base import MOST_BYTES
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.estimate import Against, Growth
from ffprof.records.frontier import FrontierRecord
from ffprof.records.learning import LearningRecord
from ffprof.records.plausibility import impossible, plausible, plausible_trial
from ffprof.records.redaction import LEFT_OUT, recorded, recorded_command, recorded_words
from ffprof.records.script import ScriptEstimate
from ffprof.records.store import load_any, read_any, same_content, save
from ffprof.records.trial import LISTED_STEPS, Throughput


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit-a.json"


def two(**more):
    return record([trial("a", 0, **more), trial("b", 0)])


# Digest


def test_the_digest_is_computed_as_the_docs_say(path):
    save(two(), path)
    document = json.loads(path.read_text())
    stored = document.pop("digest")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert stored == hashlib.sha256(text.encode()).hexdigest()
    assert read_any(path).belonging == "belongs"


def test_the_form_of_a_file_is_no_part_of_its_digest(path):
    save(two(), path)
    document = json.loads(path.read_text())
    path.write_bytes(json.dumps(document, indent=4, sort_keys=True).replace("\n", "\r\n").encode())
    assert read_any(path).belonging == "belongs"


@pytest.mark.parametrize(
    "made",
    [two(), frontier("frontier"), frontier("capacity"), study([run("bp", 0.9)])],
    ids=lambda one: getattr(one, "kind", "audit"),
)
def test_every_kind_has_one_and_any_change_is_seen(made, path):
    save(made, path)
    assert read_any(path).belonging == "belongs"
    document = json.loads(path.read_text())
    document["machine"]["cpu"] = "another"
    path.write_text(json.dumps(document))
    assert read_any(path).belonging == "differs"
    del document["digest"]
    path.write_text(json.dumps(document))
    assert read_any(path).belonging == "none"


def test_a_note_that_looks_like_the_field_is_not_filled(path):
    save(two().model_copy(update={"notes": ('\n "digest": ""',)}), path)
    assert read_any(path).belonging == "belongs"
    assert load_any(path).notes == ('\n "digest": ""',)


def test_what_is_saved_again_is_the_same_content(path):
    save(two(), path)
    assert same_content(load_any(path), two())
    assert not same_content(two(), two(memory=99 * MIB))


# What cannot be


def peaks(**figures):
    return two(memory_parts=figures)


@pytest.mark.parametrize(
    ("figures", "wrong"),
    [
        ({"live_tensor_peak_bytes": 0}, {"live_tensor_peak_bytes"}),
        ({"live_tensor_peak_bytes": 99, "breakdown": {"parameters_bytes": 100}},
         {"live_tensor_peak_bytes"}),
        ({"live_tensor_peak_bytes": 100, "breakdown": {"parameters_bytes": 100}}, set()),
        ({"allocated_peak_bytes": 20, "reserved_peak_bytes": 19},
         {"allocated_peak_bytes", "reserved_peak_bytes"}),
        ({"allocated_peak_bytes": 20, "reserved_peak_bytes": 20, "process_peak_bytes": 0},
         {"process_peak_bytes"}),
        ({"host_peak_bytes": 0, "cold_reserved_peak_bytes": 0},
         {"host_peak_bytes", "cold_reserved_peak_bytes"}),
    ],
)  # fmt: skip
def test_an_impossible_peak_is_not_measured(figures, wrong, path):
    save(peaks(**figures), path)
    reading = read_any(path)
    memory = reading.record.trials[0].memory
    for name in figures.keys() - {"breakdown"}:
        assert (getattr(memory, name) is None) == (name in wrong)
        assert memory.unread.get(name, "").startswith("not possible") == (name in wrong)
    assert len(reading.impossible) == len(wrong)
    # Written again it is null, which contradicts nothing.
    save(reading.record, path)
    assert read_any(path).impossible == () and len(impossible(reading.record)) == len(wrong)


def test_the_parameters_of_the_ledger_count(path):
    facts = {"parameters_with_gradient": 30 * MIB, "parameter_dtypes": "float32"}
    made = record([trial("a", 0)], ledger={"a": facts})
    assert plausible(made).trials[0].memory.live_tensor_peak_bytes is None
    facts["parameter_dtypes"] = "bfloat16"
    made = record([trial("a", 0)], ledger={"a": facts})
    assert plausible(made) is made


def test_a_speed_that_its_steps_do_not_give_is_a_disturbance():
    fast = Throughput(images_per_second=1000.0, step_seconds=(0.08,), data_wait_seconds=0.0)
    (told,) = plausible(record([trial("a", 0, throughput=fast)])).trials[0].conditions.disturbances
    assert told.startswith("not possible") and "1000 images/s" in told


def test_siblings_of_a_peak_are_held_alike():
    spoilt = run("bp", 0.9)
    memory = spoilt.memory.model_copy(update={"live_tensor_peak_bytes": 0})
    made = plausible(study([spoilt.model_copy(update={"memory": memory})]))
    assert made.runs[0].memory.live_tensor_peak_bytes is None
    capacity = frontier("capacity")
    one = capacity.capacities[0]
    tried = tuple(t.model_copy(update={"reserved_bytes": 0, "outcome": "ok"}) for t in one.tried)
    one = one.model_copy(update={"tried": tried})
    made = plausible(capacity.model_copy(update={"capacities": (one,)}))
    assert all(t.reserved_bytes is None for t in made.capacities[0].tried) and impossible(made)


# Size


def test_many_steps_are_one_string_and_few_are_a_list(path):
    for count, kind in ((LISTED_STEPS, list), (LISTED_STEPS + 1, str)):
        speed = Throughput(
            images_per_second=80.0, step_seconds=(0.1,) * count, data_wait_seconds=0.0
        )
        made = record([trial("a", 0, throughput=speed)])
        save(made, path)
        steps = json.loads(path.read_text())["trials"][0]["throughput"]["step_seconds"]
        assert isinstance(steps, kind)
        assert load_any(path) == made


@pytest.mark.parametrize("text", ["AAA", "AAAA!", "AACAfw==", "AACAvw==", ""])
def test_a_string_that_is_no_steps_is_refused(text):
    with pytest.raises(ValueError, match="step_seconds"):
        Throughput(images_per_second=1.0, step_seconds=text, data_wait_seconds=0.0)


def test_a_plan_that_would_not_be_read_is_refused():
    steps = two().recipe.model_copy(update={"steps": 100_000})
    check_rounds(30, 2, steps)
    with pytest.raises(UsageError, match=r"--rounds 30: 30 rounds of 8 workloads .* 64 MiB"):
        check_rounds(30, 8, steps)


def test_a_file_that_would_not_be_read_is_not_written(path, monkeypatch):
    save(two(), path)
    before = path.read_bytes()
    monkeypatch.setattr(store, "MOST_BYTES", len(before) - 1)
    with pytest.raises(StoreError, match="larger than"):
        save(two(), path)
    assert path.read_bytes() == before and MOST_BYTES == 64 * 2**20


KINDS = (Record, FrontierRecord, CalibrationRecord, LearningRecord, ScriptEstimate, Growth, Against)


@pytest.mark.parametrize("model", KINDS, ids=lambda one: one.__name__)
def test_every_list_table_and_text_has_a_bound(model):
    assert not list(unbounded(model.model_json_schema(), model.__name__))


def unbounded(schema: typing.Any, where: str) -> typing.Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from unbounded(one, where)
    elif isinstance(schema, dict):
        kind, open_ = schema.get("type"), schema.get("additionalProperties", False) is not False
        if kind == "array" and "maxItems" not in schema:
            yield f"{where}: a list"
        if kind == "object" and open_ and "maxProperties" not in schema:
            yield f"{where}: a table"
        if kind == "string" and not schema.keys() & {
            "maxLength",
            "pattern",
            "const",
            "enum",
            "format",
        }:
            yield f"{where}: a text"
        for name, value in schema.items():
            if name in ("properties", "$defs"):
                for key, one in value.items():
                    yield from unbounded(one, f"{where}.{key}")
            else:
                yield from unbounded(value, where)


# What a file is instead


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf{}", "byte order mark; save it as UTF-8"),
        ("{}".encode("utf-16"), "is UTF-16 text"),
        ("{}".encode("utf-16-le"), "is UTF-16 text"),
        ("{}".encode("utf-16-be"), "is UTF-16 text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> b\n", "unresolved merge conflict"),
        (b'{\n<<<<<<< HEAD\n "a": 1\n=======\n "a": 2\n>>>>>>> b\n}', "merge conflict"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"<!DOCTYPE html><html>", "is a web page"),
    ],
)
def test_what_lies_there_in_its_stead_is_named(data, said, path):
    path.write_bytes(data)
    with pytest.raises(RecordError, match=said):
        load_any(path)


# What is too much


@pytest.mark.parametrize(
    ("device", "evidence", "peak", "possible"),
    [
        ("cpu", "measured (cpu)", 2**33, True), ("cpu", "measured (cpu)", 2**36, False),
        ("cuda", "measured", 2**33, True), ("cuda", "measured", 2**35, False),
        ("cuda", "estimated", 2**40, True), ("cuda", "estimated", 2**50, False),
    ],
)  # fmt: skip
def test_more_than_a_machine_has_is_not_a_measurement(device, evidence, peak, possible):
    field = "live_tensor_peak_bytes" if device == "cpu" else "allocated_peak_bytes"
    one = trial("bp", 0, device=device, evidence=evidence, memory_parts={field: peak})
    machine = record([one], evidence=evidence).machine
    machine = machine.model_copy(update={"gpu_total_bytes": 2**33})  # and 8 GiB of RAM
    found = plausible_trial(one, {}, 8, machine).memory
    assert getattr(found, field) == (peak if possible else None)
    assert ("more than the machine has" in found.unread.get(field, "")) is not possible


def test_more_images_than_any_machine_makes_are_none():
    one = trial("bp", 0, speed=8e12)
    (told,) = plausible_trial(one, {}, 8).conditions.disturbances
    assert told == "not possible: 8e+12 images/s are more than any machine makes"


# Secrets


@pytest.mark.parametrize(
    "text",
    [
        "HF_TOKEN={} run", "--api-key {}", "--password='{}'", "https://me:{}@host/x",
        "https://host/x?a=1&token={}", "Authorization: Bearer {}", "aws_secret_access_key: {}",
        "X-Amz-Signature={}", 'client_secret="{}"', "https://me:a/{}@host", "https://{}@host",
        "DB_PASS={}", "--pass {}", "MYTOKEN={}", "TOKEN1={}", "AZURE_STORAGE_KEY={}",
        "AccountKey={}", "Cookie: sid={}",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_left_out(text):
    told = recorded(text.format("hunter2hunter2"))
    assert "hunter2" not in told and LEFT_OUT in told


@pytest.mark.parametrize(
    "token", ["ghp_" + "a" * 36, "hf_" + "b" * 30, "sk-" + "c" * 40, "AKIA" + "D" * 16,
              "eyJhbGciOi.eyJzdWIiOi.c2ln", "sk_live_" + "e" * 24, "ya29." + "f" * 30,
              "hooks.slack.com/services/T0/B0/xyz"],
)  # fmt: skip
def test_tokens_are_known_by_their_form(token):
    assert recorded(f"in {token} here") == f"in {LEFT_OUT} here"


@pytest.mark.parametrize(
    "text", ["ffprof run --workloads a,b --threads 1", "tokenizer=x tokens=5", "author: me",
             "its loss: 3", "monkey=1", "passes=2", "bypass=1", "passwords are not here", "https://host:80/x"],
)  # fmt: skip
def test_other_words_stay(text):
    assert recorded(text) == text


def test_words_are_cut_and_made_valid():
    assert recorded("a\udcffb") == "a?b"
    assert len(recorded("x" * 9000)) == 4000 and recorded("x" * 9000).endswith("...")
    assert recorded_command(["ffprof", "--token", "a b", "--out", "c d"]) == (
        f"ffprof --token {LEFT_OUT} --out 'c d'"
    )
    assert recorded_words(["--token", "--out", "x"]) == ("--token", "--out", "x")


def test_a_saved_record_keeps_no_secret(path):
    made = two().model_copy(
        update={"command": "ffprof run --token hunter2", "notes": ("PASSWORD=hunter2", "a\udcff")}
    )
    save(made, path)
    assert "hunter2" not in path.read_text() and load_any(path).notes[1] == "a?"
