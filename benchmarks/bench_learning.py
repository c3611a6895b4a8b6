"""An epoch of ``ffprof learn`` against a bare training loop of the same model, data and batch.

Epochs of the two alternate in one process: after each of ``learn``'s, the bare loop trains one. It
is what a practitioner would write: index the images, shift and flip and standardise them, forward,
loss, backward, step, schedule, zero. Prints the ratio of their seconds, and what validation and the
checkpoint come to on top.

    python benchmarks/bench_learning.py [epochs] [images] [data]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from ffprof.harness.data.source import parse_data
from ffprof.harness.learning.augmentation import Preparation, draw
from ffprof.harness.learning.images import LabelledImages
from ffprof.harness.learning.task import load_task
from ffprof.harness.learning.training import learn
from ffprof.harness.process.messages import Assignment, EpochDone
from ffprof.harness.timeline import instruments_for
from ffprof.records.learning import Epoch, Task, Training
from ffprof.records.recipe import Recipe
from ffprof.workload import find_preset, find_workload


class BareLoop:
    """Backprop on the same images, without ffprof's step, watch and scores."""

    def __init__(self, recipe: Recipe, training: Training, task: Task) -> None:
        torch.manual_seed(recipe.seed)
        self._recipe, self._data = recipe, load_task(recipe, training, task)
        if not isinstance(self._data.train, LabelledImages):
            raise TypeError("the bare loop holds its images in memory")
        self._train = self._data.train
        self._prepare = Preparation(
            self._data.mean, self._data.deviation, 3, self._train.padding, torch.channels_last
        )
        self._model = find_workload("bp").load()(recipe, None)
        self._model.to(memory_format=torch.channels_last).train()  # type: ignore[call-arg]
        chosen = recipe.optimizer
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay, foreach=True
        )
        steps = training.epochs * (len(self._data.train) // recipe.batch)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, steps)
        self._epoch = 0

    def epoch(self) -> float:
        """One pass; seconds."""
        began = time.perf_counter()
        train, batch = self._train, self._recipe.batch
        order = torch.randperm(len(train))
        drawn = draw(len(train), train.padding, flips=train.flips, seed=0, epoch=self._epoch)
        for start in range(0, len(train) - batch + 1, batch):
            index = order[start : start + batch]
            self._prepare.draws = drawn.of(slice(start, start + batch))
            x, y = self._prepare(train.images[index]), train.labels[index]
            F.cross_entropy(self._model(x), y).backward()  # type: ignore[operator]
            self._optimizer.step()
            self._schedule.step()
            self._optimizer.zero_grad(set_to_none=True)
        self._epoch += 1
        return time.perf_counter() - began


def main() -> None:
    """Alternate and print."""
    words = sys.argv[1:]
    epochs, images = int(words[0]) if words else 12, int(words[1]) if len(words) > 1 else 1280
    found = parse_data(words[2] if len(words) > 2 else "digits")
    recipe = find_preset("small").recipe
    recipe = recipe.model_copy(update={"data": found.kind, "data_root": found.root, "threads": 1})
    training, task = Training(epochs=epochs), Task(classes=10, samples=images)
    bare = BareLoop(recipe, training, task)
    theirs: list[float] = []
    ours: list[Epoch] = []

    def tell(done: EpochDone) -> None:
        ours.extend(done.epochs)
        theirs.append(bare.epoch())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        assignment = Assignment(
            recipe=recipe, training=training, task=task, checkpoint=path, digest=""
        )
        device = torch.device("cpu")
        learn(find_workload("bp"), assignment, device, instruments_for("cpu"), tell)
    pairs = list(zip(ours, theirs, strict=True))[1:]  # the first are slower
    ratios = sorted(epoch.seconds / other for epoch, other in pairs)
    print(
        f"bp, {found.kind}, {images} images, batch {recipe.batch}, one thread, {len(pairs)} pairs"
    )
    print(f"  an epoch of learn   {statistics.median(e.seconds for e, _ in pairs):8.3f} s")
    print(f"  a bare epoch        {statistics.median(theirs[1:]):8.3f} s")
    print(
        f"  ratio               {statistics.median(ratios):8.3f}   "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f})"
    )
    data = statistics.median(e.data_seconds / e.seconds for e, _ in pairs)
    more = statistics.median(e.validation_seconds / e.seconds for e, _ in pairs)
    print(f"  of it making batches {100 * data:6.1f} %")
    print(f"  validation on top    {100 * more:6.1f} %")


if __name__ == "__main__":
    main()
