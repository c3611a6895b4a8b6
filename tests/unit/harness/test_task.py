"""Which images and labels a task has: nothing is read twice, and seeds say what they should."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from records import recipe

from ffprof.errors import DataError, UsageError
from ffprof.harness.data.arrays import load_arrays
from ffprof.harness.data.catalogue import find_data
from ffprof.harness.data.task import chosen_classes, drawn, fitted, load_task, split
from ffprof.harness.data.teacher import LabellingNetwork
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


@given(st.integers(4, 60), st.integers(0, 5))
def test_samples_in_all_are_as_many_of_each_class_up_to_one(total, seed):
    labels = torch.arange(4).repeat(20)
    places = drawn(labels, Task(classes=4, samples=total), seed)
    counts = torch.bincount(labels[places], minlength=4)
    assert len(places) == len(set(places.tolist())) == total
    assert int(counts.max() - counts.min()) <= 1


def test_fewer_classes_are_counted_from_zero_and_nothing_else_is_left():
    data = digits(Task(classes=3, drawn_by=1))
    assert data.train.labels.unique().tolist() == [0, 1, 2]
    assert len(data.load_test()) < 297


def test_samples_of_each_class():
    data = digits(Task(classes=10, samples_per_class=7))
    assert torch.bincount(data.train.labels).tolist() == [7] * 10


def test_more_samples_than_there_are_is_one_line():
    with pytest.raises(UsageError, match=r"class \d has 1\d\d; use at most 1"):
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
    assert plain.padding == 0
    assert digits(Task(classes=10)).padding == 2  # an eighth of 16 pixels
    assert not digits(Task(classes=10)).flips


def teacher(**changes):
    made = Teacher(samples=120, test=40, width=8, **changes)
    task = Task(classes=4, teacher=made)
    return load_task(recipe(data="teacher", image_size=8, classes=4), TRAINING, task)


def test_a_teachers_images_are_balanced_and_repeat():
    data, again = teacher(), teacher()
    labels = torch.cat((data.train.labels, data.validation.labels))
    assert torch.bincount(labels).tolist() == [30] * 4
    assert torch.bincount(data.load_test().labels).tolist() == [10] * 4
    assert torch.equal(data.train.images, again.train.images)
    assert not torch.equal(data.train.images, teacher(seed=1).train.images)
    assert not keys(data.train) & keys(data.load_test())


def test_a_teacher_labels_its_images_and_noise_changes_so_many_labels():
    network = LabellingNetwork(Teacher(width=8), 4, 3, 8)
    images, labels = network.images(400, test=False)
    assert torch.equal(network.labels(images), labels)
    noisy = LabellingNetwork(Teacher(width=8, label_noise=0.5, balanced=False), 4, 3, 8)
    images, labels = noisy.images(4000, test=False)
    wrong = (noisy.labels(images) != labels).float().mean()
    assert wrong == pytest.approx(0.5 * 3 / 4, abs=0.03)  # a random label may be the right one


def test_unbalanced_classes_are_as_often_as_the_teacher_gives_them():
    data = teacher(balanced=False)
    counts = torch.bincount(torch.cat((data.train.labels, data.validation.labels)))
    assert int(counts.sum()) == 120
    assert counts.tolist() != [30] * 4


def test_a_teacher_that_is_too_deep_is_one_line():
    with pytest.raises(DataError, match="depth 9 halves images of 8 pixels to nothing"):
        LabellingNetwork(Teacher(depth=9), 4, 3, 8)


def test_arrays_of_the_two_splits_differ():
    assert len(load_arrays("digits", "", "train").labels) == 1500
