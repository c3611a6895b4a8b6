"""Images from files: words, folders, checksums, decoding, and batches that are always the same."""

import multiprocessing
import os

import numpy as np
import pictures
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from records import recipe
from torchvision import datasets
from torchvision.datasets.folder import IMG_EXTENSIONS, default_loader

from ffprof.errors import DataError, UsageError
from ffprof.harness.data import discovery, folder
from ffprof.harness.data.archive import find_archive
from ffprof.harness.data.batches import make_batches
from ffprof.harness.data.datasets import FolderPictures
from ffprof.harness.data.loader import FileBatches
from ffprof.harness.data.source import DataWords, parse_data
from ffprof.harness.trial import measure
from ffprof.records.recipe import FILE_DATA
from ffprof.workload import find_workload


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pictures.image_folder(tmp_path_factory.mktemp("images"))


def folder_recipe(root, **changes):
    return recipe(**{"data": "imagefolder", "data_root": str(root), "classes": 3} | changes)


# Words


def test_words_name_a_kind_and_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert parse_data("digits") == DataWords(kind="digits")
    assert parse_data("cifar10:/a/b:c") == DataWords(kind="cifar10", root="/a/b:c")
    assert parse_data("imagefolder:~/x").root == f"{tmp_path}/x"
    assert parse_data("imagefolder:a/../b/").root == f"{tmp_path}/b"
    assert parse_data("imagefolder:C:\\x").root == f"{tmp_path}/C:\\x"


@given(st.text(max_size=30), st.sampled_from(["", *FILE_DATA, "digits", "synthetic", "cifar"]))
def test_words_are_understood_or_refused_in_one_line(text, kind):
    for words in (text, f"{kind}:{text}"):
        try:
            found = parse_data(words)
        except UsageError as error:
            assert "--data" in str(error)
            assert str(error).isprintable()
        else:
            assert os.path.isabs(found.root) == (found.kind in FILE_DATA)  # noqa: PTH117


# Folders


def test_a_folder_is_seen_as_torchvision_sees_it(images, tmp_path):
    root = pictures.image_folder(tmp_path / "odd", classes=2, each=2)
    pictures.odd_images(root / "class 1")
    assert IMG_EXTENSIONS == folder.EXTENSIONS
    for one in (images, root):
        seen, theirs = folder.look_through(str(one)), datasets.ImageFolder(one)
        assert list(seen.classes) == theirs.classes
        assert [f"{one}/{name}" for name, _ in seen.files] == [path for path, _ in theirs.samples]
        assert len(FolderPictures(str(one), seen.fingerprint())) == len(theirs)


def test_every_picture_is_decoded_as_torchvisions_loader_does(tmp_path):
    root = pictures.image_folder(tmp_path, classes=2, each=2)
    pictures.odd_images(root / "class 0")
    ours, theirs = FolderPictures(str(root)), datasets.ImageFolder(root, loader=default_loader)
    assert len(ours) == 4 + 9
    for index in range(len(theirs)):
        picture, label = ours.read(index)
        image, wanted = theirs[index]
        assert picture.dtype == torch.uint8
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), np.asarray(image))
        assert label == wanted


def test_the_fingerprint_follows_the_data_and_not_its_place(images, tmp_path):
    copy = pictures.image_folder(tmp_path / "elsewhere")
    before = folder.look_through(str(copy)).fingerprint()
    assert folder.look_through(str(images)).fingerprint() == before
    os.truncate(copy / "class 1" / "003.jpg", 700)
    changed = folder.look_through(str(copy)).fingerprint()
    (copy / "class 2").rename(copy / "class 3")
    renamed = folder.look_through(str(copy)).fingerprint()
    assert len({before, changed, renamed}) == 3
    with pytest.raises(DataError, match="not those that the audit began with"):
        FolderPictures(str(copy), before)


def spoil(root, what):
    victim = root / "class 1" / "002.jpg"
    if what == "empty":
        victim.write_bytes(b"")
    elif what == "text":
        victim.write_text("this is no image")
    elif what == "dangling":
        victim.unlink()
        victim.symlink_to(root / "gone")
    elif what == "pipe":
        victim.unlink()
        os.mkfifo(victim)
    elif what == "no images":
        for file in (root / "class 1").iterdir():
            file.rename(file.with_suffix(".txt"))
        return "class 1"
    return str(victim)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("empty", "is empty"),
        ("text", "is not an image"),
        ("dangling", "cannot read"),
        ("pipe", "is not a file"),
        ("no images", "holds no images"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_said_with_its_name(what, said, tmp_path):
    root = pictures.image_folder(tmp_path / "x", each=3)
    named = spoil(root, what)
    with pytest.raises(DataError, match=said) as found:
        folder.look_through(str(root))
    assert named in str(found.value)


@pytest.mark.parametrize(
    ("classes", "said"), [(None, "cannot read"), (0, "no class folders"), (1, "only one class")]
)
def test_a_folder_that_is_none_for_classes(classes, said, tmp_path):
    root = tmp_path / "x"
    if classes is not None:
        root.mkdir()
        (root / "loose.jpg").write_bytes(b"")
        pictures.image_folder(root, classes=classes)
    with pytest.raises(DataError, match=said):
        folder.look_through(str(root))


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "truncated"), (b"text", "cannot be decoded"), (b"\x89PNG\r\n\x1a\n1234", "decoded")],
)
def test_a_picture_that_cannot_be_decoded_is_named(content, said, tmp_path):
    root = pictures.image_folder(tmp_path, each=2)
    victim = root / "class 0" / "000.jpg"
    victim.write_bytes(victim.read_bytes()[:-300] if content is None else content)
    chosen = folder_recipe(root, batch=6, micro_batch=2)
    for workers in (0, 1):
        batches = make_batches(chosen.model_copy(update={"data_workers": workers}), "cpu")
        batches.start()
        with pytest.raises(DataError, match=said) as found:
            batches.batch(0)
        assert str(victim) in str(found.value)
        assert str(found.value).isprintable()
        batches.stop()


# Batches


def drawn(batches, count):
    return [batches.batch(n) for n in range(count)]


def same(a, b):
    return all(torch.equal(x, y) for one, two in zip(a, b, strict=True) for x, y in zip(one, two))  # noqa: B905


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_batches_are_the_same_whoever_makes_them(method, images):
    here = make_batches(folder_recipe(images), "cpu")
    wanted = drawn(here, 7)  # two epochs of 24 images, and more
    state = torch.get_rng_state()
    for workers in (0, 2):
        made = folder_recipe(images, data_workers=workers, micro_batch=2)
        batches = FileBatches(made, "cpu")
        batches.start(multiprocessing.get_context(method))
        assert same(drawn(batches, 5), wanted[:5])
        batches.stop()
        assert same([batches.batch(6), batches.batch(0)], [wanted[6], wanted[0]])
    assert torch.equal(torch.get_rng_state(), state)
    pixels, labels = wanted[0]
    assert (pixels.shape, pixels.dtype, pixels.is_contiguous()) == (
        (8, 3, 16, 16),
        torch.float32,
        True,
    )
    assert (labels.shape, labels.dtype) == ((8,), torch.int64)
    other = make_batches(folder_recipe(images, seed=1), "cpu")
    assert not same([other.batch(0)], wanted[:1])


def test_an_epoch_has_every_image_once_in_another_order_and_differently_augmented(images):
    batches = make_batches(folder_recipe(images), "cpu")
    labels = torch.cat([batches.batch(n)[1] for n in range(6)])
    first, second = labels[:24], labels[24:]
    assert torch.equal(first.bincount(), torch.tensor([8, 8, 8]))
    assert torch.equal(second.bincount(), torch.tensor([8, 8, 8]))
    assert not torch.equal(first, second)
    pixels = torch.cat([batches.batch(n)[0] for n in range(6)]).flatten(1)
    assert len(pixels.unique(dim=0)) == 48


def test_normalised_pictures_have_the_usual_range(images):
    pixels, _ = make_batches(folder_recipe(images, batch=24, micro_batch=8), "cpu").batch(0)
    assert pixels.min() >= (0 - 0.485) / 0.229 - 1e-4
    assert pixels.max() <= (1 - 0.406) / 0.225 + 1e-4
    assert 0.1 < pixels.std() < 2


def workers_of_this_process():
    return [p for p in psutil.Process().children(recursive=True) if p.status() != "zombie"]


def test_workers_end_before_tensors_are_counted_and_memory_repeats_to_the_byte(images):
    before = len(workers_of_this_process())
    small = {"width": 0.0625, "steps": 3, "min_steps": 2}
    cpu, peaks, waits = torch.device("cpu"), [], []
    for workers in (0, 2, 2):
        made = folder_recipe(images, data_workers=workers, **small)
        report = measure(find_workload("bp-accum"), made, cpu)
        peaks.append(report.memory.live_tensor_peak_bytes)
        waits.append(report.throughput.data_wait_seconds)
        assert 0 < waits[-1] < sum(report.throughput.step_seconds)
        assert len(report.throughput.warmup_step_seconds) >= 2 * workers
        assert len(workers_of_this_process()) == before
        assert report.facts["images_per_epoch"] == 24
        assert report.facts["data_workers"] == workers
    assert peaks[1] == peaks[2]
    # The buffer of losses is as long as the warm-up may be.
    assert peaks[1] - peaks[0] == 4 * (max(3, 4) - 3)
    plain = measure(find_workload("bp-accum"), recipe(data="synthetic", classes=3, **small), cpu)
    assert peaks[0] == plain.memory.live_tensor_peak_bytes


# CIFAR


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar_is_extracted_checked_and_read(kind, tmp_path, monkeypatch):
    sums = pictures.cifar_archive(kind, tmp_path)
    cifar = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[kind]
    pictures.expect(cifar, sums, monkeypatch.setattr)
    found = find_archive(kind, str(tmp_path), False, print)
    assert (found.images, found.classes) == (60, 10 if kind == "cifar10" else 100)
    (tmp_path / pictures.ARCHIVE[kind]).unlink()
    assert find_archive(kind, str(tmp_path), False, print) == found
    chosen = recipe(**found.changes() | {"image_size": 32})
    theirs = cifar(tmp_path, train=True)
    pixels, labels = make_batches(chosen, "cpu").batch(0)
    assert pixels.shape == (8, 3, 32, 32)
    assert set(labels.tolist()) <= set(theirs.targets)
    smaller = recipe(**found.changes() | {"image_size": 16})
    assert make_batches(smaller, "cpu").batch(0)[0].shape == (8, 3, 16, 16)
    with pytest.raises(ValueError, match=f"{kind} has {found.classes} classes"):
        recipe(**found.changes() | {"classes": 7})
    victim = tmp_path / pictures.BASE[kind] / cifar.train_list[0][0]
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(DataError, match="wrong checksum") as said:
        find_archive(kind, str(tmp_path), False, print)
    assert str(victim) in str(said.value)
    with pytest.raises(DataError, match="cannot read"):
        make_batches(chosen, "cpu")
    # An archive that is right makes good what is wrong beside it.
    pictures.cifar_archive(kind, tmp_path)
    rewritten = pictures.cifar_archive(kind, tmp_path)  # gzip writes the time
    monkeypatch.setattr(cifar, "tgz_md5", rewritten[""])
    assert find_archive(kind, str(tmp_path), False, print) == found
    victim.unlink()
    (tmp_path / pictures.ARCHIVE[kind]).unlink()
    with pytest.raises(DataError, match=f"{victim.name} is missing; .*--download"):
        find_archive(kind, str(tmp_path), False, print)


def test_cifar_that_is_absent_is_fetched_only_if_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:1/cifar-10-python.tar.gz")
    said = []
    with pytest.raises(DataError, match=r"there is no cifar10 in .*add --download"):
        find_archive("cifar10", str(tmp_path), False, said.append)
    assert not said
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/.* cannot be downloaded .*network"):
        find_archive("cifar10", str(tmp_path), True, said.append)
    assert said == [
        f"downloading cifar10 from http://127.0.0.1:1/cifar-10-python.tar.gz to {tmp_path}"
    ]
    assert list(tmp_path.iterdir()) == []


# What goes into the recipe


def test_the_share_of_processors(monkeypatch):
    def resolved(cpus, device="cpu", data="imagefolder", **given):
        monkeypatch.setattr(discovery, "usable_cpus", lambda: cpus)
        classes = 10 if data == "digits" else 3
        made = discovery.resolve_workers(recipe(data=data, classes=classes, **given), device)
        return made.threads, made.data_workers

    assert resolved(2, threads=None) == (1, 1)
    assert resolved(16, threads=None) == (12, 4)
    assert resolved(1, threads=None) == (1, 1)
    assert resolved(4, threads=3) == (3, 1)
    assert resolved(4, threads=None, data_workers=0) == (4, 0)
    assert resolved(4, threads=2, data_workers=9) == (2, 9)
    assert resolved(8, "cuda", threads=None) == (None, 4)
    assert resolved(8, data="digits", threads=None, data_workers=3) == (None, None)


def test_threads_and_workers_that_crowd_are_told(monkeypatch):
    monkeypatch.setattr(discovery, "usable_cpus", lambda: 2)
    made = folder_recipe("/x", threads=2, data_workers=2)
    assert "2 threads and 2 data workers share 2 processors" in discovery.crowding(made, "cpu")
    assert discovery.crowding(made, "cuda") is None
    assert discovery.crowding(folder_recipe("/x", threads=1, data_workers=1), "cpu") is None
    assert discovery.crowding(recipe(threads=9), "cpu") is None


def test_shared_memory_that_is_too_small_is_told_before(monkeypatch, images):
    found = discovery.look_at(DataWords(kind="imagefolder", root=str(images)), download=False)
    monkeypatch.setattr(discovery, "_shared_memory_free", lambda: 4 * 8 * 3 * 16 * 16 * 4)
    discovery.check_data(folder_recipe(images, data_workers=2), found)
    with pytest.raises(UsageError, match="fewer --data-workers"):
        discovery.check_data(folder_recipe(images, data_workers=3), found)
    discovery.check_data(folder_recipe(images, data_workers=0), found)
    monkeypatch.setattr(discovery, "_shared_memory_free", lambda: None)
    discovery.check_data(folder_recipe(images, data_workers=3), found)


def test_a_preset_of_file_data_needs_a_folder():
    with pytest.raises(UsageError, match="--data cifar10:DIR"):
        discovery.check_data(recipe(data="cifar10"), None)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_png_bomb_is_one_line(tmp_path, monkeypatch):
    root = pictures.image_folder(tmp_path, each=2)
    Image.new("RGB", (60, 60)).save(root / "class 0" / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    batches = make_batches(folder_recipe(root, batch=7, micro_batch=7), "cpu")
    with pytest.raises(DataError, match=r"big\.png"):
        batches.batch(0)
