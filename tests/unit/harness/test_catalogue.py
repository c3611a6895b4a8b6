"""Facts about the sets agree with torchvision and with the recipe; places; levels of trees."""

import tempfile
from pathlib import Path

import pictures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision import datasets

from ffprof.errors import DataError, UsageError
from ffprof.harness.data.catalogue import (
    DATA,
    DOWNLOADABLE,
    TREES,
    find_data,
    find_place,
    lies_in,
    own_place,
)
from ffprof.harness.data.folder import listed_classes, look_through, two_levels
from ffprof.records.recipe import DATA_CLASSES, FILE_DATA

IDX = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}


@pytest.mark.parametrize("name", DATA)
def test_facts_of_a_set_agree_with_each_other(name):
    info = find_data(name)
    assert info.name == name
    assert DATA_CLASSES[name] == info.classes
    assert (name in FILE_DATA) == (name != "digits")
    assert len(info.mean) == len(info.deviation) == info.channels
    assert all(0 < one < 1 for one in (*info.mean, *info.deviation))
    assert len(info.class_names) in (0, info.classes)
    assert all(len(md5) == 32 for md5 in (*info.files.values(), *info.contents.values()))
    assert not info.contents or info.contents.keys() == info.files.keys()
    assert bool(info.mirrors) == bool(info.files) == (name in DOWNLOADABLE)
    assert set(info.coarse_labels()) <= set(range(info.coarse_classes or 0))


def test_sums_and_addresses_are_torchvisions():
    for name, theirs in IDX.items():
        assert dict(theirs.resources) == DATA[name].files
        assert set(DATA[name].mirrors) == set(theirs.mirrors)
        assert DATA[name].folder == f"{theirs.__name__}/raw"
    for name, theirs in (
        ("cifar10", datasets.CIFAR10),
        ("cifar100", datasets.CIFAR100),
        ("stl10", datasets.STL10),
    ):
        assert DATA[name].files == {theirs.filename: theirs.tgz_md5}
        assert DATA[name].mirrors[0] + theirs.filename == theirs.url
        assert DATA[name].folder == theirs.base_folder
    rows = [row for part, row in datasets.SVHN.split_list.items() if part != "extra"]
    assert DATA["svhn"].files == {name: md5 for _, name, md5 in rows}
    assert {url for url, _, _ in rows} == {DATA["svhn"].mirrors[0] + name for _, name, _ in rows}
    assert DATA["fashion-mnist"].class_names == tuple(datasets.FashionMNIST.classes)


def test_the_groups_of_fashion_mnist():
    assert DATA["fashion-mnist"].coarse_labels() == (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)
    assert list(DATA["fashion-mnist"].groups) == ["tops", "trousers", "dress", "footwear", "bag"]


def test_a_class_list_names_the_folders_that_are_meant(tmp_path):
    info, names = DATA["imagenet100"], [f"n{number:08d}" for number in range(100)]
    assert listed_classes(info, tmp_path) is None
    assert listed_classes(DATA["cifar10"], tmp_path) is None
    path = tmp_path / "imagenet100.txt"
    path.write_text("\n".join(reversed(names)))
    assert listed_classes(info, tmp_path) == tuple(names)
    for wrong in ("\n".join(names[:99]), " ".join([*names[:99], "../other"]), "", "\0"):
        path.write_text(wrong)
        with pytest.raises(DataError, match="does not name 100 class folders"):
            listed_classes(info, tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"cannot read .*imagenet100"):
        listed_classes(info, tmp_path)


def test_an_unknown_set_is_one_line():
    with pytest.raises(UsageError, match=r"'fashion'.*did you mean fashion-mnist.*known are"):
        find_data("fashion")


@pytest.mark.parametrize("name", sorted(DATA.keys() - {"digits"}))
def test_a_set_is_found_where_it_is_kept(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    info = DATA[name]
    place = own_place(info)
    assert place == tmp_path / "ffprof" / "data" / name
    assert not lies_in(info, place)
    for folder in info.parts().values() if name in TREES else [info.folder]:
        (place / folder).mkdir(parents=True, exist_ok=True)
    assert lies_in(info, place) is info.unpacked  # by the folder alone
    for file in info.files:
        (place / info.folder / file).touch()
    assert lies_in(info, place)
    assert find_place(info) in (place, *map(Path, info.places))


def tree(root, counts):
    for coarse, fine in enumerate(counts):
        (root / f"c{coarse}").mkdir(parents=True)
        for one in range(fine):
            (root / f"c{coarse}" / f"f{one}").mkdir()
            (root / f"c{coarse}" / f"f{one}" / "0.jpg").write_bytes(b"\xff\xd8\xff\xe0")


@given(st.lists(st.integers(0, 3), min_size=2, max_size=4))
def test_two_levels_are_seen_and_their_labels_are_those_of_the_folders(counts):
    with tempfile.TemporaryDirectory() as name:
        tree(Path(name), counts)
        found = two_levels(name)
        assert (found is None) == (0 in counts or set(counts) == {1})
        if found is not None:
            fine, coarse = found
            assert list(fine) == [f"c{c}/f{f}" for c, n in enumerate(counts) for f in range(n)]
            assert [f"c{number}" for number in coarse] == [one.partition("/")[0] for one in fine]
            assert look_through(name, fine).classes == fine
            assert len(look_through(name, fine).files) == sum(counts)


def test_one_level_is_no_second_one(tmp_path):
    root = pictures.image_folder(tmp_path / "flat", each=2)
    assert two_levels(str(root)) is None
    pictures.odd_images(root / "class 1")  # images beside folders
    assert two_levels(str(root)) is None
    pictures.image_folder(tmp_path / "one", classes=1, each=1)
    with pytest.raises(DataError, match="only one class folder"):
        two_levels(str(tmp_path / "one"))


def test_listed_folders_that_are_missing_are_told(tmp_path):
    root = pictures.image_folder(tmp_path, each=1)
    assert look_through(str(root), ["class 2", "class 0"]).classes == ("class 2", "class 0")
    with pytest.raises(DataError, match=r"lacks 1 of the 2 class folders .*class 9"):
        look_through(str(root), ["class 0", "class 9"])
