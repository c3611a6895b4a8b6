"""Operators of a step, from a trace that PyTorch writes here, its devices renamed."""

import json
import math

import pytest
import torch
from torch import nn

from ffprof.instruments.operators import FlopCounter
from ffprof.nulldevice.script.operators import Operators, _of_recurrent, operators_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, groups=2)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.first(x).relu().mean((2, 3)))


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """The nodes of the trace of a step, of tensors on cuda:0."""

    def of(step):
        read = []
        monkeypatch.setattr(
            "ffprof.nulldevice.script.operators.operators_of", lambda found: read.extend(found)
        )
        operators = Operators(tmp_path / "trace.json")
        operators.begin()
        step()
        operators.end()
        monkeypatch.undo()
        assert not list(tmp_path.iterdir())
        return json.loads(json.dumps(read).replace('"cpu"', '"cuda:0"'))

    return of


def test_flops_are_those_of_a_mode_of_the_dispatcher(nodes):
    net = Net()
    data = torch.randn(3, 4, 9, 9)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, foreach=True)

    def step():
        net(data).sum().backward()
        optimizer.step()

    step()
    found = operators_of(nodes(step))
    with FlopCounter() as counter:
        net(data).sum().backward()
    counted = {}
    for one in counter.operators:
        counted[one.name] = counted.get(one.name, 0) + one.flops
    told = {}
    for one in found.rows:
        if one.flops:
            told[one.name] = told.get(one.name, 0) + one.flops * one.times
    assert told == counted
    assert set(told) == {"aten.convolution", "aten.convolution_backward", "aten.addmm", "aten.mm"}
    phases = {one.name: one.phase for one in found.rows}
    assert phases["aten.convolution"] == "forward"
    assert phases["aten.convolution_backward"] == "backward"
    assert phases["aten._foreach_add_"] == "optimizer"
    (relu,) = [one for one in found.rows if one.name == "aten.relu"]
    assert (relu.read_bytes, relu.written_bytes) == (4 * 3 * 8 * 7 * 7,) * 2
    assert found.count == sum(one.times for one in found.rows)
    assert found.complete


def test_what_the_end_of_the_trace_cuts_off_is_the_optimizers(nodes):
    data = torch.randn(3, 3)
    found = nodes(lambda: data.add_(1))
    (outer,) = [one for one in found if one["name"] == "aten::add_"]
    cut = [one for one in found if one["id"] != outer["ctrl_deps"]]
    (row,) = operators_of(cut).rows
    assert (row.name, row.phase) == ("aten.add_", "optimizer")


def test_what_autocast_wraps_counts_in_its_format(nodes):
    layer = nn.Linear(16, 16, bias=False)

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            layer(torch.ones(2, 16))

    found = operators_of(nodes(step))
    (product,) = [one for one in found.rows if one.flops]
    assert (product.name, product.half, product.element_bytes) == ("aten.mm", "bf16", 2)
    casts = [one for one in found.rows if one.name == "aten._to_copy"]
    assert sum(one.times for one in casts) == 2


def test_what_is_not_on_a_card_does_not_count(nodes):
    found = nodes(lambda: torch.ones(3) + 1)
    assert operators_of(found).count > 0
    assert operators_of(json.loads(json.dumps(found).replace("cuda:0", "cpu"))).count == 0


def test_without_a_trace_nothing_is_told(tmp_path):
    operators = Operators(tmp_path / "trace.json")
    assert operators.end() is None
    operators.begin()
    (tmp_path / "trace.json").unlink()
    assert operators.end() is None


def _recurrent(*sequence):
    """A call as the trace has it: the sequence, and the weights and biases of one direction."""
    shapes = [[64, 16], [64, 16], [64], [64]]
    tensors = [[1, 2, 0, math.prod(shape), 4, "cuda:0"] for shape in shapes]
    return {
        "inputs": {
            "values": [[1, 2, 0, math.prod(sequence), 4, "cuda:0"], tensors],
            "shapes": [list(sequence), shapes],
            "types": ["Tensor(float)", f"GenericList[{','.join(['Tensor(float)'] * 4)}]"],
        }
    }


def test_of_a_recurrent_layer_every_matrix_is_applied_to_every_row_packed_or_not():
    applied = 2 * (8 * 32) * 2 * (64 * 16)
    assert _of_recurrent(_recurrent(8, 32, 16)) == applied
    assert _of_recurrent(_recurrent(8 * 32, 16)) == applied


def test_a_trace_of_another_pytorch_ends_no_script(tmp_path, monkeypatch):
    def other(found):
        raise AttributeError("nodes have no attrs")

    monkeypatch.setattr("ffprof.nulldevice.script.operators.operators_of", other)
    operators = Operators(tmp_path / "trace.json")
    operators.begin()
    torch.ones(3) + 1
    assert operators.end() is None
    assert not list(tmp_path.iterdir())
