"""ffprof's backprop against a bare hand-written training loop of the same model and batch.

``bp-plain`` is held against a loop as torchvision's references write it, over its resnet18 if that
is the backbone; ``bp`` against the same with the path-2 norm between blocks. Both run in fresh
processes forked from one server, alternating, on the same recipe: model, batches, optimizer,
threads. The bare loop is what a practitioner would write: index the data, forward, loss, backward,
step, zero. Prints the ratio of throughputs, paired by round.

    python benchmarks/bench_harness.py [rounds] [preset] [bp or bp-plain] [backbone]
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from multiprocessing.connection import Connection

from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import resolve_threads
from ffprof.harness.process.child import run_child, start_context
from ffprof.harness.process.messages import Finished
from ffprof.harness.worker import trial_child
from ffprof.records.recipe import Recipe
from ffprof.workload import find_preset


def bare_child(sender: Connection, recipe: Recipe, plain: bool) -> None:
    """A loop without ffprof's harness or instruments; sends images per second."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from ffprof.harness.data.batches import load_digits

    torch.set_num_threads(recipe.threads or 1)
    torch.manual_seed(recipe.seed)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            scale = recipe.width
            widths = [round(c * scale) for c in (64, 128, 256, 256, 512, 512)]
            inputs = [3, *widths[:-1]]
            self.convs = nn.ModuleList(
                nn.Conv2d(a, b, 3, padding=1, bias=False)
                for a, b in zip(inputs, widths, strict=True)
            )
            self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths)
            self.pools = [True, True, False, True, False, True]
            self.head = nn.Linear(widths[-1], recipe.classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for conv, norm, pool in zip(self.convs, self.norms, self.pools, strict=True):
                x = F.relu(norm(conv(x)), inplace=True)
                if pool:
                    x = F.max_pool2d(x, 2)
                if not plain:
                    x = x.permute(0, 2, 3, 1)
                    x = F.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2)
            return self.head(x.mean((2, 3)))

    train, _ = load_digits(recipe.image_size, recipe.seed)
    layout = getattr(torch, recipe.memory_format + "_format", None) or torch.channels_last
    images = train.images.expand(-1, 3, -1, -1).contiguous(memory_format=layout)
    labels = train.labels
    if recipe.backbone == "resnet18":
        import torchvision

        model = torchvision.models.resnet18(num_classes=recipe.classes)
    else:
        model = Net()
    model.to(memory_format=layout)
    chosen = recipe.optimizer
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay, foreach=True
    )
    order = torch.randperm(len(labels))

    def step(number: int) -> None:
        start = number * recipe.batch % (len(labels) - recipe.batch)
        index = order[start : start + recipe.batch]
        F.cross_entropy(model(images[index]), labels[index]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for number in range(5):
        step(number)
    started = time.perf_counter()
    for number in range(recipe.steps):
        step(number)
    sender.send(recipe.batch * recipe.steps / (time.perf_counter() - started))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    preset = sys.argv[2] if len(sys.argv) > 2 else "small"
    workload = sys.argv[3] if len(sys.argv) > 3 else "bp-plain"
    recipe = resolve_threads(find_preset(preset).recipe)
    if len(sys.argv) > 4:
        recipe = recipe.model_copy(update={"backbone": sys.argv[4], "width": 1.0})
    plain = workload == "bp-plain"
    ratios = []
    with environment(child_environment(recipe)):
        context = start_context("forkserver")
        for number in range(rounds):
            speeds = {}
            for name in ("bare", "ffprof") if number % 2 else ("ffprof", "bare"):
                if name == "bare":
                    speeds[name] = run_child(context, bare_child, (recipe, plain), 300).messages[0]
                else:
                    ending = run_child(context, trial_child, (workload, recipe, "cpu", None), 300)
                    done = next(m for m in ending.messages if isinstance(m, Finished))
                    speeds[name] = done.report.throughput.images_per_second
            ratios.append(speeds["ffprof"] / speeds["bare"])
            print(
                f"round {number + 1}: ffprof {speeds['ffprof']:.0f}, bare {speeds['bare']:.0f} "
                f"img/s, ratio {ratios[-1]:.3f}"
            )
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(
        f"preset {preset}, {workload} on {recipe.backbone}: ffprof / bare loop = {mean:.3f} "
        f"(geometric mean of {rounds} rounds, median {statistics.median(ratios):.3f}, "
        f"{min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
