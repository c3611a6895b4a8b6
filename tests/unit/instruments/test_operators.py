"""Operator counts: by hand, the same on fake tensors as on real ones, and the same every time."""

from functools import cache

import pytest
import torch
from records import recipe, record, trial
from torch import nn

from ffprof.estimator.workload import trace_workload
from ffprof.experiments.audit.recorder import Recorder
from ffprof.experiments.outcome import TrialResult
from ffprof.experiments.request import Request
from ffprof.harness import timeline
from ffprof.harness.trial import measure
from ffprof.instruments.operators import LONGEST_NAME, OperatorCounter, add_up
from ffprof.workload import find_workload

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
# AdamW counts its steps in one tensor a parameter, on the host: on a CPU that is the device.
STEPS = ("aten::_foreach_add_", "aten::_local_scalar_dense")
# On a GPU energies are one kernel, on a CPU squares and their means (workloads/goodness.py).
ENERGIES = (
    "aten::linalg_vector_norm", "aten::pow_", "aten::div_", "aten::pow", "aten::mean",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _warm_at_once(monkeypatch):
    """How many steps warm up a trial depends on the machine; what one of them runs does not."""
    monkeypatch.setattr(timeline, "MAX_WARMUP", 2)


def counted(step, device="cpu"):
    with OperatorCounter(device) as counter:
        step()
    return counter.counts()


def test_by_hand():
    layer, x = nn.Linear(5, 7), torch.ones(4, 5)

    def step():
        layer(x).relu().sum().backward()
        torch.empty(3).view(3, 1).detach()

    # Twice mm: nobody asks for the gradient of x. What only views or makes memory is left out.
    expected = {
        "aten::addmm": 1, "aten::relu": 1, "aten::sum": 2, "aten::ones_like": 1,
        "aten::threshold_backward": 1, "aten::mm": 1,
    }  # fmt: skip
    found = counted(step)
    assert found == expected
    assert list(found) == sorted(expected)
    assert counted(step) == found | {"aten::add_": 2}  # there are gradients by now
    assert counted(step, "cuda") == {}


def test_names_are_those_of_the_dispatcher_and_fit_a_record():
    assert add_up([("aten.mm", 2), ("aten::mm", 3), ("own::a.b", 1)]) == {
        "aten::mm": 5,
        "own::a.b": 1,
    }
    norms = [("aten::cudnn_batch_norm", 2), ("aten.native_batch_norm", 1)]
    assert add_up(norms) == {"aten::native_batch_norm": 3}
    assert add_up([("aten." + "m" * 200, 1)]).keys() == {"aten::" + "m" * (LONGEST_NAME - 6)}


@cache
def traced_and_measured(name):
    """Six micro-batches, of which not all are traced."""
    small = recipe(batch=24, micro_batch=4, steps=2, width=0.25)
    description = find_workload(name)
    return trace_workload(description, small), measure(description, small, CPU)


@pytest.mark.parametrize(
    ("name", "differ"),
    [
        ("bp", STEPS),
        ("bp-ckpt-accum", STEPS),
        ("dtg-ff", STEPS + ENERGIES),
        ("dtg-ff-twopass-accum", STEPS + ENERGIES),
    ],
)
def test_a_traced_step_counts_what_a_real_one_does(name, differ):
    traced, measured = traced_and_measured(name)
    traced, real = traced.operators(), measured.operators
    assert traced["aten::convolution_backward"] > 0
    assert {n for n in traced | real if traced.get(n) != real.get(n)} == set(differ)
    assert traced["aten::_foreach_add_"] < real["aten::_foreach_add_"]
    groups = real["aten::_foreach_add_"] - traced["aten::_foreach_add_"]
    assert groups in (1, 2)  # one a group of parameters: decayed, and not


@pytest.mark.parametrize("name", ["bp-ckpt-accum", "dtg-ff-twopass-accum"])
def test_micro_batches_that_are_not_traced_count(name):
    traced, measured = traced_and_measured(name)
    assert sum(o.times for o in traced.stream.operators) > len(traced.stream.operators)
    for fact in ("useful_flops", "recomputed_flops"):
        assert traced.facts[fact] == measured.facts[fact] > 0


def test_both_are_the_same_every_time():
    small, description = recipe(steps=2, width=0.25), find_workload("bp-accum")
    first, second = (trace_workload(description, small).operators() for _ in range(2))
    assert first == second != {}
    first, second = (measure(description, small, CPU).operators for _ in range(2))
    assert first == second != {}


def test_a_row_whose_trials_differ_is_noted(tmp_path):
    made = record([], workloads=("bp",), rounds=3)
    request = Request(
        record=made, workloads=(find_workload("bp"),), device="cpu", path=tmp_path / "audit.json",
        context=None,
    )  # fmt: skip
    recorder = Recorder(request)
    for number, counts in enumerate([{"aten::mm": 3}, {"aten::mm": 3}, {"aten::mm": 4}]):
        if number < 2:
            assert recorder.record.notes == made.notes
        found = trial("bp", number)
        recorder.add(TrialResult(trial=found, facts={"threads": 1}, operators=counts))
    assert recorder.record.ledger["bp"].operators == {"aten::mm": 3}
    assert recorder.record.notes[-1:] == (
        "bp: its trials do not run the same operators (aten::mm 3 and 4 times)",
    )
