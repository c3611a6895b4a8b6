"""What cannot be written where it belongs is written elsewhere; cleaning up replaces nothing."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from records import record, trial

from ffprof.errors import StoreError
from ffprof.records.files import replacement, writing
from ffprof.records.store import load, save

RECORD = record([trial("bp", 0)])


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The current, the home and the temporary folder."""
    made = [tmp_path / name for name in ("here", "home", "temporary")]
    for one in made:
        one.mkdir()
    monkeypatch.chdir(made[0])
    monkeypatch.setenv("HOME", str(made[1]))
    monkeypatch.setattr(tempfile, "tempdir", str(made[2]))
    return made


def refused(path, **more):
    with pytest.raises(StoreError) as told:
        save(RECORD, path, **more)
    return str(told.value)


def test_the_first_place_that_takes_it_is_named(places, tmp_path):
    gone = tmp_path / "gone" / "audit-x.json"
    for place in places:
        assert f"what was done is kept in {place / gone.name}" in refused(gone)
        assert load(place / gone.name) == RECORD
        shutil.rmtree(place)
        place.write_text("")  # no folder any more
    assert "--out" in refused(gone)


def test_nothing_is_written_over(places, tmp_path):
    (places[0] / "audit-x.json").write_text("mine")
    told = refused(tmp_path / "gone" / "audit-x.json")
    assert (places[0] / "audit-x.json").read_text() == "mine"
    kept = Path(told.rpartition("kept in ")[2])
    assert kept.parent == places[0]
    assert load(kept) == RECORD


def test_a_baseline_stays_where_it_is(places, tmp_path):
    assert "kept" not in refused(tmp_path / "gone" / "base.json", elsewhere=False)
    assert not any(list(place.iterdir()) for place in places)


def test_a_lock_that_is_gone_with_its_folder_replaces_no_error(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(KeyError, match="mine"), writing(folder / "audit-x.json"):
        shutil.rmtree(folder)
        folder.write_text("")
        raise KeyError("mine")


def test_nor_does_a_temporary_file(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(KeyError, match="mine"), replacement(folder / "audit-x.json"):
        shutil.rmtree(folder)
        folder.write_text("")
        raise KeyError("mine")


def test_a_file_has_no_name_before_it_is_whole(tmp_path):
    """So one that is killed meanwhile leaves nothing."""
    path = tmp_path / "audit-x.json"
    path.write_text("old")
    with replacement(path) as file:
        file.write(b"new")
        file.flush()
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "new"


def test_where_there_are_no_files_without_a_name_it_has_one_and_ends_the_same(
    tmp_path, monkeypatch
):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    path = tmp_path / "audit-x.json"
    with replacement(path) as file:
        file.write(b"new")
        assert len(list(tmp_path.iterdir())) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["audit-x.json"]
    with pytest.raises(KeyError, match="mine"), replacement(path):
        raise KeyError("mine")
    assert [one.name for one in tmp_path.iterdir()] == ["audit-x.json"]
    assert path.read_text() == "new"


def test_where_a_file_cannot_be_given_a_name_it_is_copied(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "audit-x.json"
    with replacement(path) as file:
        file.write(b"new" * 100_000)
    assert path.read_bytes() == b"new" * 100_000
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
