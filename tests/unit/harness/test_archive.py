"""Archives in a folder: right, packed again, damaged, missing, downloaded, and in usual places."""

import gzip
import hashlib
import shutil
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets import CIFAR10

from ffprof.errors import DataError, UsageError
from ffprof.harness.data import catalogue
from ffprof.harness.data.archive import check_archive, find_archive
from ffprof.harness.data.arrays import load_arrays
from ffprof.harness.data.catalogue import DATA
from ffprof.harness.data.datasets import open_pictures
from ffprof.harness.data.discovery import look_at
from ffprof.harness.data.inventory import check_stock, take_stock
from ffprof.harness.data.source import DataWords, parse_data
from ffprof.records.recipe import Recipe
from ffprof.workload import find_preset

DEBIAN = Path(DATA["fashion-mnist"].places[0])
IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture
def kmnist(tmp_path, monkeypatch):
    sums, _ = pictures.idx_files(tmp_path / "set")
    pictures.expect_files(monkeypatch.setitem, "kmnist", sums)
    return tmp_path / "set"


def silent(text):
    raise AssertionError(text)


def found(folder, **how):
    return find_archive("kmnist", str(folder), False, silent, **how)


def test_what_is_right_is_the_same_wherever_it_lies(kmnist, tmp_path):
    seen = found(kmnist)
    assert (seen.images, seen.classes, len(seen.fingerprint)) == (40, 10, 64)
    theirs = tmp_path / "theirs" / "KMNIST" / "raw"
    shutil.copytree(kmnist, theirs)
    other = found(tmp_path / "theirs", look_only=True)
    assert (other.fingerprint, other.root) == (seen.fingerprint, str(tmp_path / "theirs"))
    check_archive("kmnist", str(kmnist))


def test_contents_that_were_packed_again_are_right(kmnist, monkeypatch):
    path = kmnist / IMAGES
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    with pytest.raises(DataError, match=r"train-images.* has a wrong checksum"):
        found(kmnist)
    info = DATA["kmnist"]
    contents = {IMAGES: hashlib.md5(content).hexdigest()}
    monkeypatch.setitem(catalogue.DATA, "kmnist", replace(info, contents=contents))
    assert found(kmnist).images == 40
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-images.* has a wrong checksum"):
        found(kmnist)


def test_what_is_damaged_or_missing_is_one_line(kmnist, tmp_path):
    path = kmnist / IMAGES
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + b"x")
    before = sorted(kmnist.iterdir())
    with pytest.raises(DataError, match=r"wrong checksum.*or not kmnist; .*--download \(http"):
        found(kmnist)
    path.unlink()
    with pytest.raises(DataError, match=rf"{IMAGES} is missing; put .*add --download"):
        found(kmnist)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"there is no kmnist in .*empty; put train-images"):
        found(empty)
    assert sorted(kmnist.iterdir()) == sorted(set(before) - {path})
    assert not list(empty.iterdir())


def test_files_are_downloaded_from_the_first_address_that_has_them(kmnist, tmp_path, monkeypatch):
    target, said = tmp_path / "target", []
    with pictures.Served(kmnist) as server:
        mirrors = (f"{server.url}/none/", f"{server.url}/")
        monkeypatch.setitem(DATA, "kmnist", replace(DATA["kmnist"], mirrors=mirrors))
        with pytest.raises(DataError, match=r"has not been downloaded into .* dry run"):
            find_archive("kmnist", str(target), True, said.append, look_only=True)
        assert not target.exists()
        assert find_archive("kmnist", str(target), True, said.append).images == 40
        assert len(said) == 8
        before = len(server.fetched)
        find_archive("kmnist", str(target), True, silent)
        assert len(server.fetched) == before
        # A damaged file is fetched again, and only this one.
        (target / IMAGES).write_bytes(b"x")
        said.clear()
        find_archive("kmnist", str(target), True, said.append)
        assert len(said) == 2
    (target / IMAGES).unlink()
    with pytest.raises(DataError, match=r"cannot be downloaded .* check the network"):
        find_archive("kmnist", str(target), True, said.append)
    assert not (target / IMAGES).exists()


def test_a_trial_reads_what_was_found(kmnist):
    preset = find_preset("smoke").recipe.model_dump()
    chosen = Recipe.model_validate(preset | found(kmnist).changes())
    assert len(open_pictures(chosen)) == 40


# Places


def test_a_set_without_a_folder_is_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = tmp_path / "ffprof" / "data" / "mnist"
    assert parse_data("mnist") == DataWords(kind="mnist", root=str(own))
    with pytest.raises(DataError, match=r"there is no mnist in .*mnist; .*mnist:DIR or add --down"):
        look_at(parse_data("mnist"), download=False)
    assert look_at(parse_data("mnist"), download=True).root == str(own)
    pictures.idx_files(tmp_path / "system")
    elsewhere = replace(DATA["mnist"], places=(str(tmp_path / "system"),))
    monkeypatch.setitem(DATA, "mnist", elsewhere)
    assert parse_data("mnist").root == str(tmp_path / "system")
    assert parse_data("mnist:/x").root == "/x"
    with pytest.raises(DataError, match=r"cannot read /x/none: .*--download to make it"):
        look_at(parse_data("mnist:/x/none"), download=False)


def test_debians_package_is_advised(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    nowhere = replace(DATA["fashion-mnist"], places=(str(tmp_path / "none"),))
    monkeypatch.setitem(DATA, "fashion-mnist", nowhere)
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        look_at(parse_data("fashion-mnist"), download=False)


def test_nobodys_home(monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(UsageError, match="write --data cifar10:DIR"):
        parse_data("cifar10")


def test_imagenet100_is_its_listed_folders(tmp_path):
    names = [f"n{number:08d}" for number in range(1, 101)]
    for part in ("train", "val"):
        for name in (*names, "n00000000"):  # one of the other 900
            (tmp_path / part / name).mkdir(parents=True)
            pictures.noise(8, 8).save(tmp_path / part / name / "0.JPEG")
    with pytest.raises(DataError, match=r"holds 101 class folders.*imagenet100\.txt"):
        look_at(parse_data(f"imagenet100:{tmp_path}"), download=False)
    (tmp_path / "imagenet100.txt").write_text("\n".join(names))
    seen = look_at(parse_data(f"imagenet100:{tmp_path}"), download=False)
    assert (seen.classes, seen.images, len(seen.fingerprint)) == (100, 100, 64)
    assert len(open_pictures(Recipe.model_validate(
        find_preset("imagenet100").recipe.model_dump() | seen.changes()
    ))) == 100  # fmt: skip
    check_archive("imagenet100", str(tmp_path))
    for name in names[1:]:
        shutil.rmtree(tmp_path / "train" / name)
    with pytest.raises(DataError, match="lacks 99 of the 100 class folders"):
        look_at(parse_data(f"imagenet100:{tmp_path}"), download=False)


# Stock


def test_stock_is_taken_by_name_and_checked_in_a_child(tmp_path, monkeypatch):
    pictures.cifar_archive("cifar10", tmp_path)
    (state,) = take_stock([f"cifar10:{tmp_path}"])
    assert state.state == "there"
    (checked,) = check_stock([state], get_context("fork"))
    assert checked.state == "damaged"
    assert "wrong checksum" in checked.error.problem
    sums = pictures.cifar_archive("cifar10", tmp_path)
    pictures.expect(CIFAR10, sums, monkeypatch.setattr)
    (checked,) = check_stock([state], get_context("fork"))
    assert (checked.state, checked.error) == ("right", None)
    assert len(list(tmp_path.iterdir())) == 1  # nothing was unpacked
    digits, gone = take_stock(["digits", f"svhn:{tmp_path}"])
    assert (digits.state, gone.state) == ("embedded", "absent")
    assert check_stock([digits, gone], get_context("fork")) == [digits, gone]
    assert len(take_stock([])) == len(DATA)


@given(st.text(max_size=20))
def test_words_name_a_set_or_are_refused(word):
    try:
        (one,) = take_stock([word])
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert one.info.name == word.partition(":")[0]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="apt-get install dataset-fashion-mnist")
def test_fashion_mnist_of_debian_is_right():
    seen = find_archive("fashion-mnist", str(DEBIAN), False, silent)
    assert seen.images == len(load_arrays("fashion-mnist", str(DEBIAN), "train").labels) == 60_000
