"""The forecast of memory is what a trial measures, to the byte, or it is not given."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ffprof.errors import UsageError
from ffprof.estimator.tracing.kernels import PROCESSOR
from ffprof.estimator.workload import trace_workload
from ffprof.harness import timeline
from ffprof.harness.trial import measure
from ffprof.records.recipe import Optimizer
from ffprof.workload import Description, find_preset, find_workload, workload_names

CPU = torch.device("cpu")
SMOKE = find_preset("smoke").recipe
SMALL = {"batch": 8, "micro_batch": 2}  # four parts, as with 32 and 8


@pytest.fixture(autouse=True)
def _warm_at_once(monkeypatch):
    """How many steps warm up a trial depends on the machine; what it measures here does not."""
    monkeypatch.setattr(timeline, "MAX_WARMUP", 2)


def recipe(**changes):
    fields = {"threads": 1, "steps": 1, "min_steps": 1}
    return SMOKE.model_validate(SMOKE.model_dump() | fields | changes)


def trace(description, chosen):
    return trace_workload(description, chosen, PROCESSOR)


def flops(found):
    return found.facts["useful_flops"] + found.facts["recomputed_flops"]


def operators(found):
    return sum(found.operators().values())


def measured(description, chosen):
    return measure(description, chosen, CPU).memory.live_tensor_peak_bytes


@pytest.mark.slow
@pytest.mark.parametrize("name", workload_names())
def test_the_forecast_is_the_measured_peak_and_the_trace_finds_the_same_facts(name):
    one, chosen = find_workload(name), recipe(**SMALL)
    if one.objection(chosen):
        pytest.skip(one.objection(chosen))
    found = trace(one, chosen)
    report = measure(one, chosen, CPU)
    assert found.live_peak_bytes == report.memory.live_tensor_peak_bytes
    assert found.facts == report.facts
    assert found.operators() == report.operators
    # What is traced for a GPU is as much work, and its row says the same.
    assert trace_workload(one, chosen).facts == report.facts


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 32, "micro_batch": 2},
        {"batch": 8, "micro_batch": 4},
        {"batch": 12, "micro_batch": 4},
        {"norm": "group", "memory_format": "channels_last"},
        {"precision": "bf16", "steps": 3},
        # Loss scaling leaves out the first steps, which make no optimizer state.
        {"precision": "fp16", "steps": 12, "min_steps": 12},
        {"data": "synthetic", "optimizer": Optimizer(name="sgd").model_dump()},
        {"optimizer": Optimizer(foreach=False).model_dump(), "seed": 3},
    ],
)
@pytest.mark.parametrize("name", ["bp-accum", "dtg-ff-streamed-accum"])
def test_under_other_recipes_too(name, changes):
    one, chosen = find_workload(name), recipe(**(SMALL | changes))
    assert trace(one, chosen).live_peak_bytes == measured(one, chosen)


def test_the_work_is_that_of_the_whole_batch():
    """Convolutions do the same whether the batch is cut or not, and however far it is cut."""
    whole = trace(find_workload("bp"), recipe())
    for micro in (8, 2):
        cut_up = trace(find_workload("bp-accum"), recipe(micro_batch=micro))
        assert flops(cut_up) == flops(whole)
        assert operators(cut_up) > operators(whole)
    twice = trace(find_workload("bp"), recipe(batch=64, micro_batch=32))
    assert flops(twice) == 2 * flops(whole)
    assert operators(twice) == operators(whole)


def test_flops_are_those_of_the_network():
    """Linear(48, 10) on 32 images: forward, and backward with respect to the weight."""
    found = trace(described(_net()), recipe(image_size=4, norm="group"))
    assert flops(found) == 2 * (2 * 32 * 48 * 10)


def _net(accumulate=None, prepare=None):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
            self.calls = 0
            if prepare is not None:
                prepare(self)

        def accumulate(self, images, labels, weight, backward):
            logits = self.net(images)
            loss = F.cross_entropy(logits, labels)
            if accumulate is not None:
                loss = accumulate(self, loss)
            backward(loss)
            return loss.detach()

        def predict(self, images, rule):
            return self.net(images)

        def backbone_state(self):
            return {}

        def no_weight_decay(self):
            return frozenset()

    return Net


def described(net, accumulates=False):
    return Description(
        id="x",
        method="x",
        schedule="x",
        family="x",
        summary="",
        load=lambda: lambda recipe, state: net(),
        load_backbone=None,
        accumulates=accumulates,
    )


def _twice_if_large(self, loss):
    return loss * 2 if loss.item() > 1 else loss


def _kept_elsewhere(self):
    table = torch.ones(1000)
    self.look = lambda: table


def _used_elsewhere(self):
    table = torch.ones(1000)
    self.add = lambda loss: loss + table.sum()


def test_work_that_depends_on_values_is_not_forecast():
    with pytest.raises(UsageError, match="values"):
        trace(described(_net(_twice_if_large)), recipe(image_size=4))


def test_tensors_beside_the_module_are_not_forecast():
    with pytest.raises(UsageError, match="outside of its module"):
        trace(described(_net(prepare=_kept_elsewhere)), recipe(image_size=4))


def test_parts_that_are_not_alike_are_all_run():
    """A workload that keeps something of every micro-batch until the last."""

    def keeps(self, loss):
        self.calls += 1
        self.kept = [*getattr(self, "kept", []), torch.zeros(1000)]
        if len(self.kept) >= 8:
            self.kept = []
        return loss

    one = described(_net(keeps), accumulates=True)
    chosen = recipe(image_size=4, batch=32, micro_batch=4)
    found = trace(one, chosen)
    assert found.live_peak_bytes > 7 * 4000
