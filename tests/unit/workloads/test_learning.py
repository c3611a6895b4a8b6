"""They learn: digits at 16x16, a few epochs, held-out accuracy, fixed seeds."""

import pytest
import torch
from records import recipe

from ffprof.audit.data import cut, make_batches
from ffprof.audit.step import build_step
from ffprof.workload import find_workload

EPOCHS = 20


def accuracy(name, seed, norm="batch"):
    """Held-out accuracy under every rule, through the harness's own step."""
    made = recipe(
        backbone="vgg8", width=0.25, image_size=16, batch=64, micro_batch=32, seed=seed, norm=norm,
        optimizer={"lr": 2e-3},
    )  # fmt: skip
    workload = find_workload(name)
    torch.set_num_threads(2)
    built = build_step(workload, made, torch.device("cpu"))
    module, step, micro = built.module, built.step, workload.micro_batch(made)
    batches = make_batches(made, "cpu")
    for number in range(EPOCHS * 1500 // made.batch):
        step(cut(*batches.batch(number), micro))
    module.eval()
    held = batches.held_out
    images = held.images.expand(-1, 3, -1, -1)
    with torch.no_grad():
        return {
            rule: (module.predict(images, rule).argmax(1) == held.labels).float().mean().item()
            for rule in workload.rules
        }


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("bp", 0.98),
        ("bp-accum", 0.98),
        ("dtg-ff", 0.97),
        ("dtg-ff-streamed-accum", 0.97),
    ],
)
def test_held_out_digits_are_read(name, least, seed):
    assert accuracy(name, seed)["read"] > least


@pytest.mark.slow
def test_the_other_rules_and_the_other_norm_learn_too():
    found = accuracy("dtg-ff", 0, norm="group")
    assert found["read"] > 0.95
    assert min(found.values()) > 0.9
