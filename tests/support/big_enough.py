"""A recipe that takes gigabytes of a GPU, for the tests that need them."""

import pytest
from null_words import words

from ffprof.hardware.doctor.readers.nvml import read_nvml

ON_CUDA = ["run", "--preset", "small", "--device", "cuda"]
# 26 MB an image, of few weights and small images, which are soon made where the host is slow.
DEEP = ["--backbone", "flat-32-64", "--image-size", 64]
BIG = [
    *ON_CUDA,
    *words(
        ["--width", 2, "--image-size", 64, "--batch", 512, "--micro-batch", 32],
        [*DEEP, "--batch", 256, "--micro-batch", 16],
    ),
]


def total_bytes():
    """Of the smallest GPU. NVML is asked: with CUDA, this process would be on the GPU as well."""
    found = [gpu.total_bytes for gpu in read_nvml().gpus if gpu.total_bytes]
    if not found:
        pytest.skip("NVML does not tell this GPU's memory")
    return min(found)


def larger_than(size):
    """Skip the test unless the GPU has more bytes."""
    if total_bytes() <= size:
        pytest.skip("this GPU is not larger than the budget")
