import importlib.util
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from records import recipe

from ffprof.harness.data.batches import cut, load_digits, make_batches
from ffprof.harness.data.digits import DIGITS_TRAINING


def test_digits_are_real_and_split_without_overlap():
    train, held = load_digits(8, seed=0)
    assert train.images.shape == (DIGITS_TRAINING, 1, 8, 8)
    assert len(held.labels) == 1797 - DIGITS_TRAINING
    both = torch.cat([train.images, held.images])
    assert both.mean().abs() < 1e-4
    from sklearn.datasets import load_digits as embedded

    counts = torch.bincount(torch.cat([train.labels, held.labels]))
    assert counts.tolist() == torch.bincount(torch.tensor(embedded().target)).tolist()
    # At 8x8 nothing is interpolated: every picture is one of the originals, standardised.
    raw = torch.tensor(embedded().images, dtype=torch.float32)
    raw = (raw - raw.mean()) / raw.std()
    assert torch.equal(both.flatten(1).sort(0).values, raw.flatten(1).sort(0).values)


def test_batches_have_the_recipes_shape():
    images, labels = make_batches(recipe(image_size=16), "cpu").batch(0)
    assert images.shape == (8, 3, 16, 16)
    assert labels.shape == (8,)
    assert labels.dtype == torch.int64
    images, labels = make_batches(recipe(data="synthetic", classes=7), "cpu").batch(5)
    assert images.shape == (8, 3, 16, 16)
    assert int(labels.max()) < 7


@pytest.mark.parametrize("data", ["digits", "synthetic"])
def test_batch_k_is_the_same_for_everyone_and_another_for_another_seed(data):
    first, again = (make_batches(recipe(data=data), "cpu") for _ in range(2))
    other = make_batches(recipe(data=data, seed=1), "cpu")
    for number in (3, 0, 7):  # in any order
        assert torch.equal(first.batch(number)[0], again.batch(number)[0])
        assert torch.equal(first.batch(number)[1], again.batch(number)[1])
        assert not torch.equal(first.batch(number)[0], other.batch(number)[0])
    assert not torch.equal(first.batch(0)[0], first.batch(1)[0])


def keys(images):
    return [tuple(row) for row in images[:, 0].flatten(1)[:, 20:44].tolist()]


def test_an_epoch_sees_every_training_image_once():
    chosen = recipe(batch=100, micro_batch=100, image_size=8)
    batches = make_batches(chosen, "cpu")
    seen = torch.cat([batches.batch(n)[0][:, 0] for n in range(15)]).flatten(1)
    train, _ = load_digits(8, chosen.seed)
    assert torch.equal(seen.unique(dim=0), train.images.flatten(1).unique(dim=0))


@settings(max_examples=15)
@given(st.integers(1, 2000), st.integers(0, 50))
def test_batches_cross_epochs_without_loss(size, number):
    batches = make_batches(recipe(batch=size, micro_batch=size, image_size=8), "cpu")
    images, labels = batches.batch(number)
    assert len(images) == len(labels) == size


@given(st.integers(1, 12), st.integers(1, 12))
def test_cutting_keeps_every_image_in_order(micro, count):
    images, labels = torch.arange(count * 2).view(count, 2), torch.arange(count)
    parts = cut(images, labels, micro)
    assert torch.equal(torch.cat([p[0] for p in parts]), images)
    assert torch.equal(torch.cat([p[1] for p in parts]), labels)
    assert all(len(p[1]) <= micro for p in parts)


def test_what_trials_are_forked_from_does_not_import_scikit_learn():
    code = """if True:
        import importlib, sys
        from ffprof.harness.process.child import PRELOAD
        for module in PRELOAD:
            importlib.import_module(module)
        from ffprof.harness.data.batches import load_digits
        load_digits(8, 0)
        assert not {"sklearn", "scipy", "pandas"} & sys.modules.keys()
        """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digits_are_the_same_wherever_their_file_lies(monkeypatch):
    train, held = load_digits(16, 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for one, other in zip((train, held), load_digits(16, 0), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
