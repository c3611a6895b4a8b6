"""Augmentation of whole batches gives the pixels that torchvision gives image by image."""

import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from ffprof.harness.learning.augmentation import Draws, Preparation, cropped, draw


def images(count=6, channels=3, size=9):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(256, (count, channels, size, size), generator=generator).to(torch.uint8)


@pytest.mark.parametrize(("channels", "padding"), [(1, 2), (3, 4), (3, 0)])
def test_each_image_is_cropped_and_flipped_as_torchvision_does(channels, padding):
    stored = images(40, channels)
    drawn = draw(40, padding, flips=True, seed=1, epoch=2)
    assert drawn.flips.any() and not drawn.flips.all()
    found = cropped(stored, padding, drawn)
    for number, picture in enumerate(stored):
        border = transforms.pad(picture, [padding])
        row, column = int(drawn.rows[number]), int(drawn.columns[number])
        expected = transforms.crop(border, row, column, 9, 9)
        if drawn.flips[number]:
            expected = transforms.horizontal_flip(expected)
        assert torch.equal(found[number], expected)


def test_every_shift_occurs_and_none_beyond_the_padding():
    drawn = draw(2000, 4, flips=False, seed=0, epoch=0)
    assert set(drawn.rows.tolist()) == set(drawn.columns.tolist()) == set(range(9))
    assert not drawn.flips.any()


def test_what_is_drawn_depends_on_seed_and_epoch_alone():
    first = draw(50, 4, flips=True, seed=5, epoch=3)
    torch.rand(7)
    again = draw(50, 4, flips=True, seed=5, epoch=3)
    assert torch.equal(first.rows, again.rows) and torch.equal(first.flips, again.flips)
    for other in (
        draw(50, 4, flips=True, seed=5, epoch=4),
        draw(50, 4, flips=True, seed=6, epoch=3),
    ):
        assert not torch.equal(first.rows, other.rows)


def test_values_are_standardised_and_one_channel_is_repeated():
    prepare = Preparation((100.0,), (50.0,), 3, 0, torch.channels_last)
    found = prepare(torch.tensor([0, 100, 150, 255], dtype=torch.uint8).view(1, 1, 2, 2))
    assert found.shape == (1, 3, 2, 2)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = torch.tensor([-2.0, 0.0, 1.0, 3.1]).view(2, 2)
    for channel in found[0]:
        torch.testing.assert_close(channel, expected)


def test_draws_of_a_micro_batch_are_those_of_its_images():
    prepare = Preparation((0.0,) * 3, (1.0,) * 3, 3, 1, torch.contiguous_format)
    stored = images(4)
    prepare.draws = Draws(
        rows=torch.tensor([0, 1, 2, 1]),
        columns=torch.tensor([1, 1, 1, 0]),
        flips=torch.tensor([False, False, True, False]),
    ).of(slice(1, 3))
    found = prepare(stored[1:3])
    assert torch.equal(found[0], stored[1].float())  # by (1, 1) of 1: not moved
    assert torch.equal(found[1, :, :-1], stored[2].float()[:, 1:].flip(-1))
