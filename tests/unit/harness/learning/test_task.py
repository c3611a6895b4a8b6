"""Which images and labels a task has: nothing is read twice, and seeds say what they should."""

import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from records import recipe

from ffprof.errors import DataError, UsageError
from ffprof.harness.data.arrays import load_arrays
from ffprof.harness.data.catalogue import find_data
from ffprof.harness.learning.task import chosen_classes, drawn, fitted, load_task, split
from ffprof.harness.learning.teacher import LabellingNetwork
from ffprof.records.learning import Task, Teacher, Training

TRAINING = Training(epochs=2, warmup_epochs=0)


def digits(task, *, training=TRAINING, **changes):
    return load_task(recipe(data="digits", image_size=16, **changes), training, task)


def keys(part):
    """What tells images apart, whatever their order."""
    return {tuple(one.flatten().tolist()) for one in part.images}


def test_training_validation_and_test_images_share_none():
    data = digits(Task(classes=10))
    test = data.load_test()
    assert (len(data.train), len(data.validation), len(test)) == (1350, 150, 297)
    # scikit-learn's digits hold no picture twice.
    assert len(keys(data.train) | keys(data.validation) | keys(test)) == 1797


def test_validation_is_the_same_for_every_seed_and_number_of_samples():
    whole, few = digits(Task(classes=10)), digits(Task(classes=10, samples=200), seed=9)
    assert torch.equal(whole.validation.images, few.validation.images)
    assert len(few.train) == 200
    assert not keys(few.train) & keys(few.validation)
    other = digits(Task(classes=10, samples=200), seed=10)
    assert keys(other.train) != keys(few.train)


def test_the_share_of_each_class_validates():
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 10)
    held, rest = split(labels, 0.2)
    assert torch.bincount(labels[held]).tolist() == [10, 4, 2]
    assert sorted(torch.cat((held, rest)).tolist()) == list(range(80))
    assert len(split(labels, 0.0)[0]) == 0


@given(st.integers(2, 10), st.integers(0, 100))
def test_classes_are_the_first_ones_or_drawn_by_a_seed(count, seed):
    assert chosen_classes(Task(classes=count), 10).tolist() == list(range(count))
    found = chosen_classes(Task(classes=count, drawn_by=seed), 10).tolist()
    assert found == sorted(set(found))
    assert len(found) == count
    assert found == chosen_classes(Task(classes=count, drawn_by=seed), 10).tolist()


def of(total):
    return Task(classes=4, samples=total)


@given(st.integers(4, 60), st.integers(0, 5))
def test_samples_in_all_are_as_many_of_each_class_up_to_one(total, seed):
    labels = torch.arange(4).repeat(20)
    places = drawn(labels, labels, of(total), seed)
    counts = torch.bincount(labels[places], minlength=4)
    assert len(places) == len(set(places.tolist())) == total
    assert int(counts.max() - counts.min()) <= 1


@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 5))
def test_more_samples_hold_fewer_ones(total, more, seed):
    labels = torch.arange(4).repeat(20)
    few, many = sorted((total, total + more))
    small, large = (set(drawn(labels, labels, of(n), seed).tolist()) for n in (few, many))
    assert small <= large


def test_an_image_that_validates_in_one_task_trains_in_none():
    """And a sweep over classes keeps the images of a class."""
    held, trained, by_class = set(), set(), []
    for classes in (2, 5, 10):
        data = digits(Task(classes=classes, samples_per_class=20))
        held |= keys(data.validation)
        trained |= keys(data.train)
        of_one = data.train.images[data.train.labels == 1]
        by_class.append({tuple(one.flatten().tolist()) for one in of_one})
    assert not held & trained
    assert by_class[0] == by_class[1] == by_class[2]
    assert len(by_class[0]) == 20


def test_fewer_classes_are_counted_from_zero_and_nothing_else_is_left():
    data = digits(Task(classes=3, drawn_by=1))
    assert data.train.labels.unique().tolist() == [0, 1, 2]
    assert len(data.load_test()) < 297


def test_samples_of_each_class():
    data = digits(Task(classes=10, samples_per_class=7))
    assert torch.bincount(data.train.labels).tolist() == [7] * 10


def test_more_samples_than_there_are_is_one_line():
    with pytest.raises(UsageError, match=r"class \d has 1\d\d; use at most 1\d\d of each"):
        digits(Task(classes=10, samples_per_class=500))


def test_more_classes_than_there_are_is_one_line():
    with pytest.raises(UsageError, match="11 classes are wanted, the data has 10"):
        digits(Task(classes=11))


def test_coarse_labels_of_what_has_none_is_one_line():
    with pytest.raises(UsageError, match="no coarse labels"):
        digits(Task(classes=2, labels="coarse"))


def test_slightly_smaller_images_are_padded_and_others_resized():
    small, info = torch.full((2, 1, 28, 28), 200, dtype=torch.uint8), find_data("mnist")
    padded = fitted(small, info, 32)
    assert padded.shape == (2, 1, 32, 32)
    assert torch.equal(padded[:, :, 2:-2, 2:-2], small)
    assert padded[:, :, :2].max() == 0
    assert fitted(small, info, 28) is small
    assert (fitted(small, info, 14) == 200).all()  # resized: nothing black
    assert (fitted(small, info, 64) == 200).all()


def test_without_augmentation_nothing_is_shifted_or_flipped():
    plain = digits(Task(classes=10), training=TRAINING.model_copy(update={"augmentation": False}))
    assert plain.train.padding == 0
    assert digits(Task(classes=10)).train.padding == 2  # an eighth of 16 pixels
    assert not digits(Task(classes=10)).train.flips


def test_shifts_are_of_as_many_pixels_as_requested():
    shifted = TRAINING.model_copy(update={"shift": 0})
    assert digits(Task(classes=10), training=shifted).train.padding == 0
    assert (
        digits(Task(classes=10), training=TRAINING.model_copy(update={"shift": 3})).train.padding
        == 3
    )
    task = Task(classes=4, teacher=Teacher(samples=120, test=40, width=8))
    with pytest.raises(UsageError, match="white noise is not augmented; leave --shift out"):
        load_task(recipe(data="teacher", image_size=8, classes=4), shifted, task)


def teacher(**changes):
    made = Teacher(samples=120, test=40, width=8, **changes)
    task = Task(classes=4, teacher=made)
    return load_task(recipe(data="teacher", image_size=8, classes=4), TRAINING, task)


def test_a_teachers_images_are_balanced_and_repeat():
    data, again = teacher(), teacher()
    assert torch.bincount(data.train.labels).tolist() == [30] * 4
    assert torch.bincount(data.validation.labels).tolist() == [3] * 4
    assert torch.bincount(data.load_test().labels).tolist() == [10] * 4
    assert torch.equal(data.train.images, again.train.images)
    assert not torch.equal(data.train.images, teacher(seed=1).train.images)
    parts = [keys(part) for part in (data.train, data.validation, data.load_test())]
    assert len(set.union(*parts)) == 120 + 12 + 40


def test_a_teacher_labels_its_images_and_noise_is_of_training_labels_alone():
    network = LabellingNetwork(Teacher(width=8), 4, 3, 8)
    images, labels = network.images(400, "train")
    assert torch.equal(network.labels(images), labels)
    noisy = LabellingNetwork(Teacher(width=8, label_noise=0.5, balanced=False), 4, 3, 8)
    images, labels = noisy.images(4000, "train")
    wrong = (noisy.labels(images) != labels).float().mean()
    assert wrong == pytest.approx(0.5 * 3 / 4, abs=0.03)  # a random label may be the right one
    for part in ("validation", "test"):
        images, labels = noisy.images(400, part)
        assert torch.equal(noisy.labels(images), labels)


def test_unbalanced_classes_are_as_often_as_the_teacher_gives_them():
    data = teacher(balanced=False)
    counts = torch.bincount(data.train.labels)
    assert int(counts.sum()) == 120
    assert counts.tolist() != [30] * 4


def test_a_teacher_that_is_too_deep_is_one_line():
    with pytest.raises(DataError, match="depth 9 halves images of 8 pixels to nothing"):
        LabellingNetwork(Teacher(depth=9), 4, 3, 8)


def folder_of_colours(root, levels):
    """Twenty pictures a class, each of its own colour and size."""
    for number, name in enumerate(levels):
        (root / name).mkdir(parents=True)
        for one in range(20):
            shade = (40 * number + 20, 5 * one, 100)
            Image.new("RGB", (24 + one, 30), shade).save(root / name / f"{one:02d}.png")
    return root


def folder_task(root, task, **changes):
    made = recipe(data="imagefolder", data_root=str(root), image_size=16, **changes)
    return load_task(made, TRAINING, task)


def test_a_tenth_of_each_class_of_a_folder_is_its_test_set(tmp_path):
    root = folder_of_colours(tmp_path, ["a", "b", "c"])
    data = folder_task(root, Task(classes=3))
    test = data.load_test()
    assert torch.bincount(test.labels).tolist() == [2, 2, 2]
    assert torch.bincount(data.validation.labels).tolist() == [2, 2, 2]
    assert torch.bincount(data.train.labels).tolist() == [16, 16, 16]
    places = [set(part.places.tolist()) for part in (data.train, data.validation, test)]
    assert sorted(set.union(*places)) == list(range(60))
    ((images, labels),) = test.batches(10, "cpu")
    assert images.shape == (6, 3, 16, 16)
    assert images.dtype == torch.uint8
    # Red says the class: a crop in the middle of one colour is that colour.
    assert (images[:, 0] == (40 * labels + 20)[:, None, None]).all()


def test_photographs_of_an_epoch_are_the_same_with_any_number_of_workers(tmp_path):
    root = folder_of_colours(tmp_path, ["a", "b"])
    runs = []
    for workers in (0, 2):
        train = folder_task(root, Task(classes=2), data_workers=workers).train
        state = torch.get_rng_state()
        runs.append([(x, y) for x, y, _ in train.epoch(8, 3, 1, "cpu")])
        assert torch.equal(torch.get_rng_state(), state)
    assert len(runs[0]) == 4
    for (x, y), (other_x, other_y) in zip(*runs, strict=True):
        assert torch.equal(x, other_x) and torch.equal(y, other_y)
    again = [y for _, y, _ in train.epoch(8, 3, 2, "cpu")]
    assert not torch.equal(torch.cat(again), torch.cat([y for _, y in runs[0]]))


def test_two_levels_of_folders_have_coarse_labels(tmp_path):
    names = ["cold/blue", "cold/green", "warm/orange", "warm/red", "warm/yellow"]
    root = folder_of_colours(tmp_path, names)
    fine = folder_task(root, Task(classes=5))
    assert fine.groups.tolist() == [0, 0, 1, 1, 1]
    coarse = folder_task(root, Task(classes=2, labels="coarse"))
    assert torch.bincount(coarse.load_test().labels).tolist() == [4, 6]
    assert coarse.groups is None


@pytest.mark.parametrize("samples", [None, 23])
def test_heads_on_coarse_and_on_fine_labels_see_the_same_images(tmp_path, samples):
    names = ["cold/blue", "cold/green", "warm/orange", "warm/red", "warm/yellow"]
    root = folder_of_colours(tmp_path, names)
    fine = folder_task(root, Task(classes=5, samples=samples))
    coarse = folder_task(root, Task(classes=2, labels="coarse", samples=samples))
    for part in ("train", "validation"):
        one, other = (getattr(data, part).places.tolist() for data in (fine, coarse))
        assert one == other
    assert torch.equal(fine.groups[fine.train.labels], coarse.train.labels)


def test_a_class_too_small_to_be_split_is_one_line(tmp_path):
    root = folder_of_colours(tmp_path, ["a", "b"])
    for path in sorted((root / "b").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="class 1 has 1 image, and one is to be held out"):
        folder_task(root, Task(classes=2))


def test_few_images_still_validate_and_test(tmp_path):
    root = folder_of_colours(tmp_path, ["a", "b"])
    for name in "ab":
        for path in sorted((root / name).iterdir())[4:]:
            path.unlink()
    data = folder_task(root, Task(classes=2))
    assert (len(data.train), len(data.validation), len(data.load_test())) == (4, 2, 2)


def test_folders_of_training_number_the_classes_of_the_test(tmp_path):
    names = [f"n{number:08d}" for number in range(100)]
    for part, classes in (("train", names), ("val", [*names, "another"])):
        for name in classes:
            (tmp_path / part / name).mkdir(parents=True)
            for one in range(2):
                Image.new("RGB", (20, 20)).save(tmp_path / part / name / f"{one}.png")
    made = recipe(data="imagenet100", data_root=str(tmp_path), image_size=16, classes=100)
    data = load_task(made, TRAINING, Task(classes=100))
    assert data.load_test().labels.tolist() == [label for label in range(100) for _ in "ab"]
    shutil.rmtree(tmp_path / "val" / names[3])
    with pytest.raises(DataError, match="val lacks n00000003"):
        load_task(made, TRAINING, Task(classes=100))


def test_a_photograph_that_cannot_be_decoded_is_named(tmp_path):
    root = folder_of_colours(tmp_path, ["a", "b"])
    for path in (root / "b").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    train = folder_task(root, Task(classes=2)).train
    with pytest.raises(DataError, match=r"b/\d\d\.png cannot be decoded"):
        list(train.epoch(8, 0, 0, "cpu"))


def test_arrays_of_the_two_splits_differ():
    assert len(load_arrays("digits", "", "train").labels) == 1500
