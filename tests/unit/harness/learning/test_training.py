"""Training in this process: torch's schedule, and the same digits after a stop."""

import math
from dataclasses import replace

import pytest
import torch
from records import recipe
from torch import nn

from ffprof.errors import DataError, UsageError
from ffprof.harness.data.batches import load_digits
from ffprof.harness.learning import training
from ffprof.harness.learning.divergence import DivergedError, origin
from ffprof.harness.learning.task import load_task
from ffprof.harness.learning.training import learn, rehearse, scheduler_for
from ffprof.harness.process.messages import Assignment
from ffprof.harness.timeline import MAX_WARMUP, instruments_for
from ffprof.records.learning import Task, Training
from ffprof.workload import find_workload

CPU = torch.device("cpu")
SMALL = {
    "data": "digits", "image_size": 16, "batch": 32, "micro_batch": 16, "width": 0.125,
    "threads": 1,
}  # fmt: skip


def assignment(tmp_path, *, epochs=3, digest="a", training=None, lr=None, **changes):
    made = recipe(**SMALL | changes)
    if lr is not None:
        optimizer = made.optimizer.model_copy(update={"lr": lr})
        made = made.model_copy(update={"optimizer": optimizer})
    return Assignment(
        recipe=made,
        training=training or Training(epochs=epochs, warmup_epochs=0.5),
        task=Task(classes=10, samples=160),
        checkpoint=tmp_path / "run.pt",
        digest=digest,
    )


def learned(workload, asked, stop_after=None):
    """What the run told: epochs, and its end unless it was stopped."""
    told = []

    def tell(done):
        told.append(done)
        if stop_after is not None and done.epochs[-1].number == stop_after and not done.restored:
            raise KeyboardInterrupt

    found = learn(find_workload(workload), asked, CPU, instruments_for("cpu"), tell)
    return told, found


def digits_of(epochs):
    """Everything but times."""
    return [(e.number, e.learning_rate, e.loss, e.validation) for e in epochs]


def test_the_schedule_is_a_linear_warm_up_and_torchs_cosine_to_zero():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    schedule = scheduler_for(optimizer, Training(epochs=10, warmup_epochs=2), steps=5)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:10] == pytest.approx([0.1 * (i + 1) / 11 for i in range(10)])
    expected = [0.05 * (1 + math.cos(math.pi * i / 40)) for i in range(40)]
    assert rates[10:] == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_a_constant_rate_stays():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    training = Training(epochs=2, warmup_epochs=0, schedule="constant")
    schedule = scheduler_for(optimizer, training, steps=3)
    for _ in range(6):
        assert optimizer.param_groups[0]["lr"] == 0.1
        optimizer.step()
        schedule.step()


# Micro-batches; random numbers of its own while it trains; optimizers in backward.
@pytest.mark.parametrize("workload", ["dtg-ff-streamed-accum", "hinton-ff", "bp-fused-step"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_last_digit(
    tmp_path, workload, stop_after
):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    told, whole = learned(workload, assignment(tmp_path / "whole"))
    assert [done.epochs[0].number for done in told] == [1, 2, 3]
    asked = assignment(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        learned(workload, asked, stop_after)
    torch.rand(100)  # another process has other random numbers
    again, resumed = learned(workload, asked)
    assert again[0].restored
    assert len(again[0].epochs) == stop_after
    epochs = [epoch for done in again for epoch in done.epochs]
    assert digits_of(epochs) == digits_of(epoch for done in told for epoch in done.epochs)
    assert resumed.test == whole.test
    assert resumed.memory.live_tensor_peak_bytes == whole.memory.live_tensor_peak_bytes


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_one_line(tmp_path):
    asked = assignment(tmp_path, epochs=1)
    learned("bp", asked)
    with pytest.raises(DataError, match=r"run\.pt is a checkpoint of another recipe; remove it"):
        learned("bp", assignment(tmp_path, epochs=1, digest="b"))
    whole = asked.checkpoint.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        asked.checkpoint.write_bytes(damaged)
        with pytest.raises(DataError, match=r"run\.pt is damaged, .*starts again"):
            learned("bp", asked)


def test_every_rule_is_scored_and_the_test_set_only_at_the_end(tmp_path):
    told, found = learned("dtg-ff", assignment(tmp_path))
    names = ["read", "last", "mean", *(f"layer{n}" for n in range(1, 7))]
    assert list(found.test.accuracy) == list(found.rules) == names
    assert found.test.accuracy["layer6"] == found.test.accuracy["last"]
    assert found.test.images == 297
    assert {done.epochs[0].validation.images for done in told} == {150}
    assert (found.training_images, found.steps) == (160, 5)
    assert [done.epochs[0].images for done in told] == [160] * 3


def test_memory_is_that_of_an_audit_of_the_same_recipe(tmp_path):
    from ffprof.harness.trial import measure

    asked = assignment(tmp_path, epochs=1)
    audited = measure(find_workload("bp"), asked.recipe, CPU)
    _, found = learned("bp", asked)
    kept = audited.memory.live_tensor_peak_bytes - found.memory.live_tensor_peak_bytes
    steps = 1 + MAX_WARMUP + asked.recipe.warmup_steps + asked.recipe.steps
    assert kept == 4 * steps  # an audit keeps the loss of every step
    assert found.memory.breakdown == audited.memory.breakdown


@pytest.mark.parametrize("workload", ["bp", "dtg-ff-streamed"])
def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_layer(tmp_path, workload):
    told = []
    with pytest.raises(
        DivergedError, match=r"not finite; it begins in the output of (backbone|heads)\."
    ):
        learn(
            find_workload(workload),
            assignment(tmp_path, lr=1e30),
            CPU,
            instruments_for("cpu"),
            told.append,
        )
    assert not told


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

    def accumulate(self, images, labels, weight, backward):
        loss = nn.functional.cross_entropy(self.second(self.first(images)), labels)
        backward(loss)
        return loss


def test_the_layer_is_the_first_one_whose_output_is_not_finite():
    net, images, labels = Broken(), torch.ones(2, 4), torch.zeros(2, dtype=torch.int64)
    assert "begins in the loss" in origin(net, images, labels)
    with torch.no_grad():
        net.second.weight[0, 0] = math.inf
    assert "output of second (Linear)" in origin(net, images, labels)
    with torch.no_grad():
        net.first.weight[0, 0] = math.nan
    assert "output of first (Linear)" in origin(net, images, labels)


def test_fewer_images_than_a_batch_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="160 training images are fewer than a batch of 256"):
        learned("bp", assignment(tmp_path, batch=256, micro_batch=16))


@pytest.mark.parametrize("workload", ["bp", "hinton-ff"])
def test_a_trial_of_a_search_validates_as_a_run_does_and_reads_no_test_image(
    tmp_path, monkeypatch, workload
):
    asked = assignment(tmp_path)
    told, _ = learned(workload, asked)
    expected = told[-1].epochs[-1].validation

    def never():
        raise AssertionError("the test set was read")

    monkeypatch.setattr(
        training, "load_task", lambda *words: replace(load_task(*words), load_test=never)
    )
    epochs = []
    found = rehearse(
        find_workload(workload),
        replace(asked, checkpoint=None),
        CPU,
        instruments_for("cpu"),
        epochs.append,
    )
    assert found.score == expected
    assert [done.epochs[0].validation for done in epochs] == [None, None, expected]


def test_settings_reach_the_workload(tmp_path):
    losses = []
    for settings in ({}, {"scale": 256.0}, {"scale": 32.0}):
        asked = replace(assignment(tmp_path, epochs=1), checkpoint=None, settings=settings)
        rehearse(
            find_workload("hinton-ff"), asked, CPU, instruments_for("cpu"),
            lambda done: losses.append(done.epochs[0].loss),
        )  # fmt: skip
    assert losses[0] == losses[1] != losses[2]


def test_a_trial_without_validation_images_is_one_line(tmp_path):
    bare = Training(epochs=1, warmup_epochs=0, validation=0)
    asked = replace(assignment(tmp_path, training=bare), checkpoint=None)
    with pytest.raises(UsageError, match="no image is left to validate on"):
        rehearse(find_workload("bp"), asked, CPU, instruments_for("cpu"), print)


def test_it_learns_digits(tmp_path):
    """The validation accuracy after three epochs over 1,350 digits is far from chance."""
    asked = assignment(tmp_path)
    whole = Assignment(
        recipe=asked.recipe.model_copy(
            update={"optimizer": asked.recipe.optimizer.model_copy(update={"lr": 2e-3})}
        ),
        training=Training(epochs=3, warmup_epochs=0.5),
        task=Task(classes=10),
        checkpoint=tmp_path / "whole.pt",
        digest="whole",
    )
    _, found = learned("bp", whole)
    assert found.test.accuracy["read"] > 0.8


def test_the_audits_digits_are_what_they_were():
    train, held = load_digits(8, 0)
    assert (len(train.labels), len(held.labels)) == (1500, 297)
