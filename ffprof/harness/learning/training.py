"""Training of one workload to its last epoch, inside the process of a run.

The learning rate moves once a step. After each epoch the validation images are scored and a
checkpoint is written, and then the parent is told: what it knows is stored. The test set is loaded
after the last epoch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

from ffprof.errors import RefusedError, UsageError
from ffprof.hardware.flags import apply_flags
from ffprof.harness.data.batches import cut
from ffprof.harness.learning.checkpoint import load_checkpoint, save_checkpoint
from ffprof.harness.learning.divergence import DivergenceWatch
from ffprof.harness.learning.epochs import EpochBatches
from ffprof.harness.learning.evaluation import score
from ffprof.harness.learning.images import Images
from ffprof.harness.learning.task import TaskData, load_task
from ffprof.harness.measurements import (
    breakdown,
    memory_figures,
    present_tensors,
    tensor_passes,
    tensors_beside,
)
from ffprof.harness.process.messages import Assignment, EpochDone, Learned, Validated
from ffprof.harness.step import build_step
from ffprof.harness.timeline import Instruments, MemoryReadings, wait_for
from ffprof.instruments.allocator import AllocatorPeaks
from ffprof.records.audit import Conditions, Memory
from ffprof.records.learning import Epoch, Score, Training
from ffprof.workload import Description

UNSEEN = AllocatorPeaks(
    allocated_peak_bytes=None,
    reserved_peak_bytes=None,
    alloc_retries=None,
    oom_events=None,
    reason="it was resumed after its last epoch",
)


def scheduler_for(optimizer: torch.optim.Optimizer, training: Training, steps: int) -> LRScheduler:
    """Linear warm-up, then a cosine to 0 or a constant rate; stepped once an optimizer step.

    Args:
        optimizer: at its full learning rate.
        training: the schedule.
        steps: of one epoch.
    """
    total = training.epochs * steps
    warm = min(round(training.warmup_epochs * steps), total - 1)
    rest: LRScheduler
    if training.schedule == "cosine":
        rest = CosineAnnealingLR(optimizer, total - warm)
    else:
        rest = ConstantLR(optimizer, factor=1.0)
    if not warm:
        return rest
    first = LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm)
    return SequentialLR(optimizer, [first, rest], [warm])


def learn(
    description: Description,
    assignment: Assignment,
    device: torch.device,
    tools: Instruments,
    tell: Callable[[EpochDone], None],
) -> Learned:
    """Train to the last epoch, from the checkpoint if there is one, and test.

    ``tell`` is called after every epoch, and once with those of the checkpoint.

    Raises:
        DivergedError: a loss is not finite.
        DataError: images or the checkpoint cannot be read.
        UsageError: there are fewer images than the task wants.
        RefusedError: the workload does not keep to what the recipe fixes.
        torch.OutOfMemoryError: it does not fit.
    """
    recipe, training = assignment.recipe, assignment.training
    apply_flags(recipe)
    load = os.getloadavg()[0]
    data = load_task(recipe, training, assignment.task)
    run = _Run(description, assignment, data, device, tools)
    restored = run.restore()
    if restored:
        tell(EpochDone(epochs=restored, restored=True))
    for number in range(len(restored), training.epochs):
        done = run.epoch(number)
        tell(EpochDone(epochs=(done,), timed=run.timed))
    host_peak = tools.host.peak_bytes()
    test = run.score(data.load_test())
    memory = run.memory(host_peak)
    return Learned(
        test=test,
        memory=memory,
        conditions=Conditions(
            threads=torch.get_num_threads(),
            load_average_start=load,
            load_average_end=os.getloadavg()[0],
            host_peak_reset=run.host_reset,
            skipped_optimizer_steps=run.built.update.skipped_steps(),
        ),
        rules=tuple(test.accuracy),
        parameters=sum(p.numel() for p in run.built.module.parameters()),
        training_images=len(data.train),
        steps=run.batches.steps,
    )


def rehearse(
    description: Description,
    assignment: Assignment,
    device: torch.device,
    tools: Instruments,
    tell: Callable[[EpochDone], None],
) -> Validated:
    """Train to the last epoch and validate once; nothing is kept, and no test image is read.

    Raises:
        DivergedError: a loss is not finite.
        DataError: images cannot be read.
        UsageError: there are fewer images than the task wants, or none to validate on.
        RefusedError: the workload does not keep to what the recipe fixes.
        torch.OutOfMemoryError: it does not fit.
    """
    recipe, training = assignment.recipe, assignment.training
    apply_flags(recipe)
    data = load_task(recipe, training, assignment.task)
    if not len(data.validation):
        raise UsageError(
            "no image is left to validate on", "take more images, or a larger --validation"
        )
    run = _Run(description, assignment, data, device, tools)
    for number in range(training.epochs - 1):
        tell(EpochDone(epochs=(run.epoch(number, validates=False),)))
    last = run.epoch(training.epochs - 1)
    tell(EpochDone(epochs=(last,)))
    if last.validation is None:
        raise ValueError("the last epoch validates")
    return Validated(score=last.validation)


class _Run:
    """A workload that is trained, epoch by epoch."""

    def __init__(
        self,
        description: Description,
        assignment: Assignment,
        data: TaskData,
        device: torch.device,
        tools: Instruments,
    ) -> None:
        recipe = assignment.recipe
        description = description.tuned(assignment.settings)
        self._description, self._assignment, self._data = description, assignment, data
        self._device, self._tools = device, tools
        self.batches = EpochBatches(data, recipe, description.micro_batch(recipe), device)
        self._known = present_tensors(device.type)
        self.built = build_step(description, recipe, device)
        if not getattr(self.built.module, "can_predict", True):
            raise RefusedError(
                "nothing can be predicted with it: it has neither predict nor forward",
                "define predict(self, images, rule), or forward(self, images)",
            )
        self.built.step.prepare = self.batches.prepared
        self._optimizers = self.built.update.optimizers()
        self._schedulers = [
            scheduler_for(one, assignment.training, self.batches.steps) for one in self._optimizers
        ]
        self._watch = DivergenceWatch(
            self.built.module, self.built.step, self.batches.again, device
        )
        self._epochs: list[Epoch] = []
        self._cold: AllocatorPeaks | None = None
        self._steady: list[AllocatorPeaks] = []
        self.host_reset = False
        self.timed = (0.0, 0.0)

    def restore(self) -> tuple[Epoch, ...]:
        """Go on from the checkpoint; the epochs that it holds."""
        kept, built = self._assignment, self.built
        if kept.checkpoint is None:
            return ()
        found = load_checkpoint(
            kept.checkpoint, kept.digest, built.module, built.update, self._schedulers
        )
        self._epochs = list(found)
        return found

    def epoch(self, number: int, *, validates: bool = True) -> Epoch:
        """Train once over the images, validate, and store a checkpoint."""
        tools, batches, recipe = self._tools, self.batches, self._assignment.recipe
        tools.allocator.reset_peak()
        waited, started, began = batches.seconds, time.perf_counter(), time.monotonic()
        loss, rate = self._trained(number)
        seconds = time.perf_counter() - started
        self.timed = began, time.monotonic()
        self._steady.append(tools.allocator.read())
        validating = time.perf_counter()
        validates = validates and len(self._data.validation) > 0
        validation = self.score(self._data.validation) if validates else None
        done = Epoch(
            number=number + 1,
            images=batches.steps * recipe.batch,
            learning_rate=rate,
            loss=loss,
            validation=validation,
            seconds=seconds,
            data_seconds=batches.seconds - waited,
            validation_seconds=time.perf_counter() - validating,
        )
        self._epochs.append(done)
        kept, built = self._assignment, self.built
        if kept.checkpoint is not None:
            save_checkpoint(
                kept.checkpoint,
                kept.digest,
                built.module,
                built.update,
                self._schedulers,
                self._epochs,
            )
        return done

    def _trained(self, number: int) -> tuple[float, float]:
        """One pass: the mean loss, and the last step's learning rate."""
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        rate = 0.0
        for parts in self.batches.epoch(number):
            loss = self.built.step(parts)
            self._watch.check(loss)
            total += loss
            rate = self._optimizers[0].param_groups[0]["lr"]
            for scheduler in self._schedulers:
                scheduler.step()
            if self._cold is None:
                self._cold = self._tools.allocator.read()
                self._tools.allocator.reset_peak()
                self.host_reset = self._tools.host.reset_peak()
                self._tools.budget.first_step()
        wait_for(self._device)
        self._watch.check_now(total)
        return float(total) / self.batches.steps, rate

    def score(self, held_out: Images) -> Score:
        """What it scores now."""
        return score(
            self.built.module,
            held_out,
            self.batches.prepare,
            self._description.rules,
            self._assignment.recipe,
            self._device,
            self._data.groups,
        )

    def memory(self, host: int | None) -> Memory:
        """The figures of an audit; two more steps are taken for those of tensors."""
        built, recipe = self.built, self._assignment.recipe
        built.step.observer = built.step.prepare = None
        held = tensors_beside(self._device.type, [*self._known, *self.batches.held()])
        # A batch as an audit hands it over: ready on the host, so outside of what is counted.
        parts = cut(*self.batches.ready(), self._description.micro_batch(recipe))
        parameters: list[Tensor] = list(built.module.parameters())
        untimed = tensor_passes(built.step, parts, self._device.type, held, parameters)
        steady = max(self._steady, key=lambda one: one.allocated_peak_bytes or 0, default=UNSEEN)
        readings = MemoryReadings(cold=self._cold or steady, steady=steady, host_peak=host)
        return memory_figures(readings, untimed, breakdown(built.module, built.update))
