"""They learn: digits at 16x16, a few epochs, held-out accuracy, fixed seeds."""

import pytest
from learning import EPOCHS, accuracy


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("bp", 0.98),
        ("bp-accum", 0.98),
        ("bp-deepsup", 0.98),
        ("dtg-ff", 0.97),
        ("dtg-ff-streamed-accum", 0.97),
    ],
)
def test_held_out_digits_are_read(name, least, seed):
    epochs = 20 if name == "bp-deepsup" else EPOCHS  # its many losses take a little longer
    assert accuracy(name, seed, epochs=epochs)["read"] > least
