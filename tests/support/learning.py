"""Trains a workload on digits at 16x16 for a few epochs; held-out accuracy, fixed seeds."""

import torch
from records import recipe

from ffprof.harness.data.batches import cut, make_batches
from ffprof.harness.step import build_step
from ffprof.workload import find_workload

EPOCHS = 14  # after which rows no longer get better by more than a few images


def accuracy(name, seed, norm="batch", backbone="vgg8", epochs=EPOCHS):
    """Held-out accuracy under every rule, through the harness's own step."""
    made = recipe(
        backbone=backbone, width=0.25, image_size=16, batch=64, micro_batch=32, seed=seed,
        norm=norm, optimizer={"lr": 2e-3},
    )  # fmt: skip
    workload = find_workload(name)
    built = build_step(workload, made, torch.device("cpu"))
    module, step, micro = built.module, built.step, workload.micro_batch(made)
    batches = make_batches(made, "cpu")
    for number in range(epochs * 1500 // made.batch):
        step(cut(*batches.batch(number), micro))
    module.eval()
    held = batches.held_out
    images = held.images.expand(-1, 3, -1, -1)
    with torch.no_grad():
        return {
            rule: (module.predict(images, rule).argmax(1) == held.labels).float().mean().item()
            for rule in workload.rules
        }
