"""Folders that are no classes: splits, what is hidden, and links that lead back."""

import pictures
import pytest

from ffprof.errors import DataError
from ffprof.harness.data import folder
from ffprof.harness.data.datasets import FolderPictures


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "Test"), ("test", "valid")])
def test_splits_are_no_classes(names, tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=2, each=2)
    for number, name in enumerate(names):
        (root / f"class {number}").rename(root / name)
    with pytest.raises(DataError, match=f"splits.*imagefolder:{root}/{names[0]}"):
        folder.look_through(str(root))


def test_what_is_hidden_is_skipped_and_noted(tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=2, each=2)
    before = folder.look_through(str(root))
    (root / ".ipynb_checkpoints").mkdir()
    (root / "class 0" / ".thumbs").mkdir()
    for place in (root / ".ipynb_checkpoints", root / "class 0", root / "class 0" / ".thumbs"):
        (place / "._000.jpg").write_bytes(b"no image")
    seen = folder.look_through(str(root))
    assert seen.fingerprint() == before.fingerprint()
    assert seen.skipped == (".ipynb_checkpoints", "class 0/._000.jpg", "class 0/.thumbs")
    assert len(FolderPictures(str(root), seen.fingerprint())) == 4


@pytest.mark.parametrize("place", ["class 0/again", "class 3", "class 0/a/b"])
def test_links_that_lead_back_are_refused(place, tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=2, each=2)
    link = root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(root)
    with pytest.raises(DataError, match=r"are the same folder, by a link|that it is in"):
        folder.look_through(str(root))


def test_a_link_to_elsewhere_is_followed(tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=2, each=2)
    other = pictures.image_folder(tmp_path / "y", classes=1, each=3)
    (root / "class 1" / "more").symlink_to(other / "class 0")
    assert len(folder.look_through(str(root)).files) == 2 * 2 + 3


def test_a_folder_that_is_found_twice_is_refused(tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=2, each=2)
    other = pictures.image_folder(tmp_path / "y", classes=1, each=3) / "class 0"
    (root / "class 0" / "one").symlink_to(other)
    places = (("class 0/two", other), ("class 1/two", other), ("class 9", root / "class 1"))
    for again, target in places:
        (root / again).symlink_to(target)
        with pytest.raises(DataError, match="are the same folder, by a link; remove the link"):
            folder.look_through(str(root))
        (root / again).unlink()
    assert len(folder.look_through(str(root)).files) == 2 * 2 + 3


def test_folders_whose_links_double_with_each_level_end(tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=2, each=2)
    for level in range(30):
        (tmp_path / f"l{level}").mkdir()
    for level in range(29):
        for name in ("a", "b"):
            (tmp_path / f"l{level}" / name).symlink_to(tmp_path / f"l{level + 1}")
    (root / "class 0" / "deep").symlink_to(tmp_path / "l0")
    with pytest.raises(DataError, match="are the same folder"):
        folder.look_through(str(root))


@pytest.mark.parametrize(
    "names",
    [("train", "val", "annotations"), ("train2017", "val2017"), ("train", "dev"),
     ("train_set", "test_set"), ("Training", "validation", "notes")],
)  # fmt: skip
def test_splits_beside_other_folders_and_with_other_words_are_no_classes(names, tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=len(names), each=2)
    for number, name in enumerate(names):
        (root / f"class {number}").rename(root / name)
    with pytest.raises(DataError, match=f"splits.*imagefolder:{root}/{names[0]}"):
        folder.look_through(str(root))


@pytest.mark.parametrize("names", [("trains", "planes"), ("tests", "exams"), ("train", "plane")])
def test_classes_may_be_called_nearly_so(names, tmp_path):
    root = pictures.image_folder(tmp_path / "x", classes=2, each=2)
    for number, name in enumerate(names):
        (root / f"class {number}").rename(root / name)
    assert folder.look_through(str(root)).classes == tuple(sorted(names))
