"""The null device of the tests, and what keeps one from being built."""

import pytest
import torch

from ffprof.errors import NullDeviceError
from ffprof.hardware.cards import find_card
from ffprof.nulldevice import NullDevice, library
from ffprof.nulldevice.compiler import find_compiler


def unfit():
    """Why there can be no null device here; empty if there can."""
    if torch.version.cuda is None:
        return "torch has no CUDA build"
    try:
        find_compiler()
    except NullDeviceError as error:
        return error.problem
    return ""


def built_or_skip():
    """Where the null device is kept; without one, the test is skipped."""
    try:
        return library()
    except NullDeviceError as error:
        pytest.skip(f"there is no null device here: {error}")


def card_of_null():
    """A card with more memory than the default budget, and than any row of the tests takes."""
    return NullDevice.of_card(find_card("RTX A2000 12GB"))
