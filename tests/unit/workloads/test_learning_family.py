"""The rest of the table learns too; see test_learning."""

import pytest
from learning import BP_EPOCHS, CHANCE, EPOCHS, accuracy, linear_accuracy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs"), [("bp-plain", BP_EPOCHS), ("dtg-ff-twopass", EPOCHS), ("asge-streamed", 8)]
)
def test_the_rest_of_the_family_learns_too(name, epochs):
    """Schedules that are the same training to the bit are not trained again."""
    assert accuracy(name, 0, epochs=epochs)["read"] > linear_accuracy()


@pytest.mark.slow
def test_the_slowest_learns_too():
    assert accuracy("hinton-ff", 0)["read"] > 5 * CHANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bp", "dtg-ff-streamed"])
def test_residual_backbones_learn(name):
    assert accuracy(name, 0, backbone="resnet18", epochs=8)["read"] > 0.9


@pytest.mark.slow
def test_the_other_rules_and_the_other_norm_learn_too():
    found = accuracy("dtg-ff", 0, norm="group", epochs=8)
    assert found["read"] > 0.95
    assert min(found.values()) > 0.9
