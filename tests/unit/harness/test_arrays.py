"""Whole sets in memory: every set's own archive, made small, gives back what was put in."""

import gzip
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from records import recipe
from torchvision import datasets

from ffprof.errors import DataError
from ffprof.harness.data.archive import find_archive
from ffprof.harness.data.arrays import load_arrays
from ffprof.harness.data.batches import load_digits, make_batches
from ffprof.harness.data.catalogue import DATA
from ffprof.harness.data.datasets import FolderPictures, open_pictures, training_transform
from ffprof.harness.data.folder import look_through, two_levels

DEBIAN = Path(DATA["fashion-mnist"].places[0])


def same(found, images, labels):
    assert (found.images.dtype, found.labels.dtype) == (torch.uint8, torch.int64)
    assert found.images.is_contiguous()
    assert np.array_equal(found.images.numpy(), images)
    assert np.array_equal(found.labels.numpy(), labels)


def test_digits_are_the_embedded_ones_split_as_audits_split_them():
    train, held = (load_arrays("digits", "", part) for part in ("train", "test"))
    assert (train.images.shape, held.images.shape) == ((1500, 1, 8, 8), (297, 1, 8, 8))
    assert (int(train.images.min()), int(train.images.max()), train.coarse) == (0, 255, None)
    standardised, _ = load_digits(8, 0)
    assert torch.equal(train.labels, standardised.labels)
    flat = torch.stack([train.images.flatten().double(), standardised.images.flatten().double()])
    assert float(torch.corrcoef(flat)[0, 1]) > 0.9999
    pixels = train.images / 255
    assert abs(float(pixels.mean()) - DATA["digits"].mean[0]) < 1e-4
    assert abs(float(pixels.std()) - DATA["digits"].deviation[0]) < 1e-4


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
@pytest.mark.parametrize("flat", [True, False])
def test_sets_like_mnist_are_read_from_their_archives(name, flat, tmp_path):
    folder = tmp_path if flat else tmp_path / DATA[name].folder
    _, made = pictures.idx_files(folder)
    before = sorted(tmp_path.rglob("*"))
    for part, (images, labels) in made.items():
        found = load_arrays(name, str(tmp_path), part)
        same(found, images[:, None], labels)
        if name == "fashion-mnist":
            assert found.coarse.tolist() == [(0, 1, 0, 2, 0, 3, 0, 3, 4, 3)[n] for n in labels]
        else:
            assert found.coarse is None
    assert sorted(tmp_path.rglob("*")) == before


def test_svhn_is_read_and_its_zero_is_0(tmp_path):
    _, made = pictures.svhn_files(tmp_path)
    for part, (images, labels) in made.items():
        same(load_arrays("svhn", str(tmp_path), part), images, labels)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar_is_read_with_both_labels(kind, tmp_path, monkeypatch):
    sums = pictures.cifar_archive(kind, tmp_path)
    pictures.expect(getattr(datasets, kind.upper()), sums, monkeypatch.setattr)
    find_archive(kind, str(tmp_path), False, print)
    files = {name: pickle.loads(raw) for name, raw in pictures.cifar_files(kind).items()}
    found = load_arrays(kind, str(tmp_path), "test")
    entry = files["test_batch" if kind == "cifar10" else "test"]
    labels = entry["labels" if kind == "cifar10" else "fine_labels"]
    same(found, entry["data"].reshape(-1, 3, 32, 32), labels)
    assert (found.coarse is None) == (kind == "cifar10")
    if kind == "cifar100":
        assert found.coarse.tolist() == entry["coarse_labels"]
    assert len(load_arrays(kind, str(tmp_path), "train").labels) == 60


def test_stl10_is_read_upright(tmp_path, monkeypatch):
    sums, made = pictures.stl10_archive(tmp_path)
    listed = {n: [[name, sums[name]] for name, _ in getattr(datasets.STL10, n)]
              for n in ("train_list", "test_list")}  # fmt: skip
    for name, value in (listed | {"tgz_md5": sums[""]}).items():
        monkeypatch.setattr(datasets.STL10, name, value)
    seen = find_archive("stl10", str(tmp_path), False, print)
    assert seen.images == 4
    for part, (images, labels) in made.items():
        same(load_arrays("stl10", str(tmp_path), part), images, labels)
    # Unlabelled images are not needed; of the others, every byte is.
    (tmp_path / "stl10_binary.tar.gz").unlink()
    (tmp_path / "stl10_binary" / "unlabeled_X.bin").unlink()
    assert find_archive("stl10", str(tmp_path), False, print) == seen
    victim = tmp_path / "stl10_binary" / "test_X.bin"
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test_X\.bin has a wrong checksum"):
        find_archive("stl10", str(tmp_path), False, print)
    with pytest.raises(DataError, match="cannot read stl10 from"):
        load_arrays("stl10", str(tmp_path), "test")


def test_tiny_imagenet_is_read_from_its_tree(tmp_path, monkeypatch):
    sums, names = pictures.tiny_imagenet(tmp_path)
    pictures.expect_files(monkeypatch.setitem, "tiny-imagenet", sums)
    seen = find_archive("tiny-imagenet", str(tmp_path), False, print)
    assert (seen.images, seen.classes) == (200, 200)
    root = tmp_path / "tiny-imagenet-200"
    train, held = (load_arrays("tiny-imagenet", str(tmp_path), part) for part in ("train", "test"))
    assert train.labels.tolist() == list(range(200))
    with Image.open(root / "train" / names[7] / "images" / f"{names[7]}_0.JPEG") as image:
        assert np.array_equal(train.images[7].permute(1, 2, 0).numpy(), np.asarray(image))
    assert held.labels.tolist() == [0, 1, 2, 3, 4]
    with Image.open(root / "val" / "images" / "val_3.JPEG") as image:
        assert np.array_equal(held.images[3].permute(1, 2, 0).numpy(), np.asarray(image))
    # An audit decodes them one by one.
    chosen = recipe(**seen.changes() | {"image_size": 64, "batch": 2, "micro_batch": 2})
    assert len(open_pictures(chosen)) == 200
    assert make_batches(chosen, "cpu").batch(0)[0].shape == (2, 3, 64, 64)
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tnowhere\n")
    with pytest.raises(DataError, match=r"cannot read tiny-imagenet from .*nowhere"):
        load_arrays("tiny-imagenet", str(tmp_path), "test")
    shutil.rmtree(root / "train" / names[3])
    with pytest.raises(DataError, match="has 199 classes, not 200"):
        find_archive("tiny-imagenet", str(tmp_path), False, print)


# What is damaged


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    pictures.idx_files(folder, train=3, test=3)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(name, root, part="train"):
    with pytest.raises(DataError) as said:
        load_arrays(name, str(root), part)
    text = str(said.value)
    assert text.startswith(f"cannot read {name} from {root}: ")
    assert text.isprintable()
    assert f"ffprof data {name}:{root} --check" in text
    return text


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_is_in_the_files_is_read_or_one_line(archives, data):
    """Cut short or changed, as they are or in what they pack."""
    victim = data.draw(st.sampled_from(sorted(n for n in archives if n.startswith("train"))))
    raw = archives[victim]
    inside = data.draw(st.booleans())
    raw = gzip.decompress(raw) if inside else raw
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        at = data.draw(st.integers(0, min(len(raw), 24) - 1))
        raw = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    with tempfile.TemporaryDirectory() as root:
        for name, content in archives.items():
            (Path(root) / name).write_bytes(content)
        (Path(root) / victim).write_bytes(gzip.compress(raw) if inside else raw)
        try:
            found = load_arrays("mnist", root, "train")
        except DataError as error:
            assert str(error).startswith(f"cannot read mnist from {root}: ")
            assert str(error).isprintable()
        else:
            assert found.images.shape == (len(found.labels), 1, 28, 28)
            assert 0 <= int(found.labels.min()) <= int(found.labels.max()) < 10


def test_files_that_are_missing_or_of_another_set(tmp_path):
    assert "not all of train-images" in refused("kmnist", tmp_path)
    refused("svhn", tmp_path)
    refused("stl10", tmp_path, "test")
    refused("cifar10", tmp_path)
    for content in (b"", b"MATLAB 5.0 MAT-file" + bytes(200), os.urandom(500)):
        (tmp_path / "train_32x32.mat").write_bytes(content)
        refused("svhn", tmp_path)
    from scipy.io import savemat

    savemat(tmp_path / "train_32x32.mat", {"X": np.zeros((32, 32, 3, 4)), "y": np.ones((4, 1))})
    assert "float64" in refused("svhn", tmp_path)
    savemat(tmp_path / "train_32x32.mat", {"Y": 1})
    refused("svhn", tmp_path)


def test_labels_that_no_class_has(tmp_path):
    pictures.idx_files(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(pictures.idx(np.full(40, 11, dtype=np.uint8))))
    assert "labels are not 0 to 9" in refused("mnist", tmp_path)
    labels.write_bytes(gzip.compress(pictures.idx(np.zeros(39, dtype=np.uint8))))
    assert "39 labels do not fit" in refused("mnist", tmp_path)


def test_photographs_are_not_held():
    with pytest.raises(DataError, match="ImageNet-100 is not held in memory"):
        load_arrays("imagenet100", "/x", "train")


# In audits


@pytest.mark.parametrize(("size", "rows"), [(16, 0), (28, 24), (32, 26), (48, 0)])
def test_grey_images_get_three_channels_and_the_size_of_the_recipe(size, rows, tmp_path):
    pictures.idx_files(tmp_path)
    chosen = recipe(data="kmnist", data_root=str(tmp_path), classes=10, image_size=size)
    pixels, labels = make_batches(chosen, "cpu").batch(0)
    assert (pixels.shape, labels.shape) == ((8, 3, size, size), (8,))
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    # Noise has no black rows of its own. Of 28 rows a crop moves at most 4 out of sight, and 2 of
    # them only into a padding.
    seen = (pixels[:, 0] > pixels.min()).any(2).sum(1)
    assert int(seen.min()) >= rows
    assert int(seen.max()) <= (28 if rows else size)


def test_only_sets_that_may_be_are_flipped():
    def steps(name):
        made = training_transform(recipe(data=name, classes=DATA[name].classes, image_size=64))
        return [type(step).__name__ for step in made.transforms]

    assert steps("mnist") == ["RandomCrop", "Resize", "ToDtype", "Normalize"]
    assert steps("fashion-mnist") == [
        "RandomCrop", "RandomHorizontalFlip", "Resize", "ToDtype", "Normalize",
    ]  # fmt: skip
    assert steps("tiny-imagenet") == ["RandomCrop", "RandomHorizontalFlip", "ToDtype", "Normalize"]
    assert steps("imagenet100")[:2] == ["RandomResizedCrop", "RandomHorizontalFlip"]


def test_the_fine_classes_of_a_tree_can_be_loaded(tmp_path):
    for coarse in ("a", "b"):
        pictures.image_folder(tmp_path / coarse, classes=2, each=2)
    fine, parents = two_levels(str(tmp_path))
    assert (len(fine), parents) == (4, (0, 0, 1, 1))
    seen = look_through(str(tmp_path), fine)
    found = FolderPictures(str(tmp_path), seen.fingerprint(), fine)
    assert [found.read(n)[1] for n in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="apt-get install dataset-fashion-mnist")
def test_fashion_mnist_of_debian():
    found = load_arrays("fashion-mnist", str(DEBIAN), "test")
    assert found.images.shape == (10_000, 1, 28, 28)
    assert found.labels.bincount().tolist() == [1000] * 10
    assert found.coarse.bincount().tolist() == [4000, 1000, 1000, 3000, 1000]
