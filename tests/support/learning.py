"""Trains a workload on digits at 16x16 for a few epochs; held-out accuracy, fixed seeds."""

from functools import cache
from statistics import median

import torch
from records import recipe
from sklearn.linear_model import LogisticRegression

from ffprof.harness.data.batches import cut, make_batches
from ffprof.harness.step import build_step
from ffprof.workload import find_workload

# After which rows no longer get better by more than a few images; those by backpropagation.
EPOCHS, BP_EPOCHS = 5, 3
CHANCE = 0.1


def _recipe(**changes):
    made = {
        "backbone": "vgg8", "width": 0.25, "image_size": 16, "batch": 64, "micro_batch": 32,
        "optimizer": {"lr": 2e-3},
    }  # fmt: skip
    return recipe(**(made | changes))


def accuracy(name, seed, epochs=EPOCHS, **changes):
    """LimitedProcess-out accuracy under every rule, through the harness's own step.

    The median of those after the last three epochs: the learning rate stays as it is, so that now
    and then an epoch loses a dozen images, and the next has them again.
    """
    made = _recipe(seed=seed, **changes)
    workload = find_workload(name)
    built = build_step(workload, made, torch.device("cpu"))
    module, step, micro = built.module, built.step, workload.micro_batch(made)
    batches = make_batches(made, "cpu")
    held, a_epoch = batches.held_out, 1500 // made.batch
    images = held.images.expand(-1, 3, -1, -1)
    found = {rule: [] for rule in workload.rules}
    for number in range(epochs * a_epoch):
        step(cut(*batches.batch(number), micro))
        if (number + 1) % a_epoch == 0 and number >= (epochs - 3) * a_epoch:
            module.eval()
            with torch.no_grad():
                for rule, seen in found.items():
                    right = module.predict(images, rule).argmax(1) == held.labels
                    seen.append(right.float().mean().item())
            module.train()
    return {rule: median(seen) for rule, seen in found.items()}


@cache
def linear_accuracy():
    """What a linear read-out of the pixels gets on the same images."""
    batches = make_batches(_recipe(), "cpu")
    held = batches.held_out
    parts = [batches.batch(number) for number in range(2 * 1500 // 64)]  # all of them
    images, labels = (torch.cat(one) for one in zip(*parts, strict=True))
    model = LogisticRegression(max_iter=2000).fit(images[:, 0].flatten(1), labels)
    return model.score(held.images[:, 0].flatten(1), held.labels)
