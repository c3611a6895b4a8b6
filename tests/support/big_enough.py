"""A recipe that takes gigabytes of a GPU, for the tests that need them."""

import pytest
import torch

BIG = [
    "run", "--preset", "small", "--device", "cuda", "--width", 2, "--image-size", 64,
    "--batch", 512, "--micro-batch", 32,
]  # fmt: skip


def larger_than(size):
    """Skip the test unless the GPU has more bytes."""
    if torch.cuda.mem_get_info()[1] <= size:
        pytest.skip("this GPU is not larger than the budget")
