"""Calibrations in the user's cache: found where they hold, and never in the way."""

import json
import os
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from calibrations import calibrated, noisy_audit
from hypothesis import given
from hypothesis import strategies as st

from ffprof.hardware.calibrations import keep_calibration, kept_calibration
from ffprof.hardware.machine import fingerprint

MADE = calibrated(noisy_audit(rounds=6))


def found(folder, *, machine=None, device="cpu", recipe=None):
    return kept_calibration(machine or MADE.machine, device, recipe or MADE.recipe, folder)


def changed_machine(**changes):
    return MADE.machine.model_copy(update=changes)


def test_it_is_kept_and_found(tmp_path):
    assert found(tmp_path) == (None, "")
    path, note = keep_calibration(MADE, tmp_path / "new")
    assert note == ""
    assert path.parent == tmp_path / "new"
    assert found(tmp_path / "new") == (MADE, "")
    assert [p.suffix for p in path.parent.iterdir()] == [".json"]


def test_a_newer_one_of_the_same_setting_replaces_it(tmp_path):
    keep_calibration(MADE, tmp_path)
    newer = calibrated(noisy_audit(rounds=8))
    keep_calibration(newer, tmp_path)
    assert found(tmp_path) == (newer, "")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "another"},
        {"cpu_count": 64},
        {"versions": {"torch": "2.15.0"}},
        {"versions": {"torch": "2.14.1", "torch build": "2.14.1+cu130"}},
    ],
)
def test_another_machine_has_none(tmp_path, change):
    keep_calibration(MADE, tmp_path)
    assert found(tmp_path, machine=changed_machine(**change)) == (None, "")


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "0123456789ab"},
        {"platform": "Linux 7"},
        {"driver": "590"},
        {"gpu_uuid": "GPU-1"},
        {"ram_bytes": 1},
    ],
)
def test_what_decides_nothing_on_a_processor_does_not_matter(tmp_path, change):
    keep_calibration(MADE, tmp_path)
    assert found(tmp_path, machine=changed_machine(**change)) == (MADE, "")


def test_on_a_gpu_the_gpu_counts(tmp_path):
    machine = changed_machine(gpu="G", gpu_uuid="GPU-1", driver="590")
    made = MADE.model_copy(update={"machine": machine, "evidence": "measured"})
    keep_calibration(made, tmp_path)
    assert found(tmp_path, machine=machine, device="cuda") == (made, "")
    assert found(tmp_path, machine=machine, device="cpu") == (None, "")
    for change in ({"gpu_uuid": "GPU-2"}, {"driver": "591"}):
        other = machine.model_copy(update=change)
        assert found(tmp_path, machine=other, device="cuda") == (None, "")
    assert "gpu uuid" in fingerprint(machine, "cuda")
    assert "gpu uuid" not in fingerprint(machine, "cpu")


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({"seed": 5}, True),
        ({"claims": ()}, True),
        ({"preset": "other"}, False),
        ({"batch": 16}, False),
        ({"image_size": 32}, False),
        ({"width": 0.5}, False),
        ({"threads": 2}, False),
        ({"steps": 7}, False),
        ({"precision": "bf16"}, False),
    ],
)
def test_noise_of_other_steps_is_another_noise(tmp_path, change, holds):
    keep_calibration(MADE, tmp_path)
    recipe = MADE.recipe.model_copy(update=change)
    assert found(tmp_path, recipe=recipe)[0] == (MADE if holds else None)


def edited(**change):
    return json.dumps(json.loads(MADE.model_dump_json()) | change).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 20_000,
        b"{}",
        b"null",
        b" " * (9 * 1024 * 1024),
        edited(schema_version=2),
        edited(kind="frontier"),
        edited(noise=[]),
        edited(rounds="many"),
        edited(machine=json.loads(changed_machine(cpu="x").model_dump_json())),
        edited(recipe=json.loads(MADE.recipe.model_copy(update={"batch": 16}).model_dump_json())),
        edited(evidence="measured"),
    ],
)
def test_a_damaged_file_is_passed_over_with_a_note_and_mended(tmp_path, content):
    path, _ = keep_calibration(MADE, tmp_path)
    path.write_bytes(content)
    made, note = found(tmp_path)
    assert made is None
    assert "is ignored" in note
    assert len(note) <= 1000
    assert note.isprintable()
    assert keep_calibration(MADE, tmp_path) == (path, "")
    assert found(tmp_path) == (MADE, "")


TEXT = MADE.model_dump_json(indent=1)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.integers(0, len(TEXT)).map(lambda n: TEXT[:n].encode()),
        st.tuples(st.integers(0, len(TEXT) - 1), st.characters(codec="utf-8")).map(
            lambda c: (TEXT[: c[0]] + c[1] + TEXT[c[0] + 1 :]).encode()
        ),
    )
)
def test_no_content_makes_it_fail(content):
    with tempfile.TemporaryDirectory() as name:
        path, _ = keep_calibration(MADE, Path(name))
        path.write_bytes(content)
        made, note = found(Path(name))
        assert (made is None) == bool(note)
        assert note.isprintable()


def test_a_folder_in_its_place_and_one_that_cannot_be_written_are_notes(tmp_path):
    path, _ = keep_calibration(MADE, tmp_path)
    path.unlink()
    path.mkdir()
    made, note = found(tmp_path)
    assert made is None
    assert "is ignored" in note
    assert "not stored" in keep_calibration(MADE, tmp_path)[1]
    (tmp_path / "file").write_text("")
    assert "not stored" in keep_calibration(MADE, tmp_path / "file" / "ffprof")[1]


def test_without_a_home_nothing_is_kept_and_nothing_fails(monkeypatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "XDG_CACHE_HOME": ""})

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert found(None) == (None, "")
    assert "not stored" in keep_calibration(MADE)[1]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    keep_calibration(MADE, tmp_path)

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert "No space left" in keep_calibration(calibrated(noisy_audit(rounds=8)), tmp_path)[1]
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    assert found(tmp_path) == (MADE, "")


def dated(record, **shift):
    return record.model_copy(update={"created": MADE.created + timedelta(**shift)})


def test_an_older_one_does_not_replace_a_newer(tmp_path):
    newer = dated(MADE, minutes=1)
    keep_calibration(newer, tmp_path)
    for older in (MADE, MADE.model_copy(update={"created": MADE.created.replace(tzinfo=None)})):
        path, note = keep_calibration(older, tmp_path)
        assert f"a newer one of this machine and setting, of {newer.created:%Y-%m-%d}" in note
        assert str(path) in note
        assert found(tmp_path) == (newer, "")
    path.unlink()
    assert keep_calibration(MADE, tmp_path)[1] == ""


def test_one_of_the_same_audit_replaces(tmp_path):
    keep_calibration(MADE, tmp_path)
    one = calibrated(noisy_audit(rounds=6), workloads=["a", "b"])
    assert keep_calibration(one, tmp_path)[1] == ""
    assert found(tmp_path) == (one, "")
