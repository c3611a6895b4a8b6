"""Steps that the tracer is right to refuse: a library or values decide what they take."""

import functools

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from steps.registry import PLAIN_SGD, add, normal, trained, whole

_RECURRENT = "a recurrent layer"
_PAIR = normal((32, 64, 64), (32, 64, 128))


def _sequence(net, x, y):
    return F.mse_loss(net(x)[0], y)


for _kind in (nn.LSTM, nn.GRU, nn.RNN):
    add(_kind.__name__,
        trained(lambda kind=_kind: kind(64, 128, 2), _PAIR, _sequence), _RECURRENT)  # fmt: skip
add("LSTM, both ways, dropout",
    trained(lambda: nn.LSTM(64, 64, 2, bidirectional=True, dropout=0.2), _PAIR, _sequence),
    _RECURRENT)  # fmt: skip
add("LSTM bf16", trained(lambda: nn.LSTM(64, 128), _PAIR, _sequence, precision="bf16"), _RECURRENT)
add("LSTM cell by cell",
    trained(lambda: nn.LSTMCell(64, 128), normal((8, 32, 64), (32, 128)),
            lambda m, x, y: F.mse_loss(functools.reduce(lambda h, t: m(t, h), x, None)[0], y)),
    _RECURRENT)  # fmt: skip


def sparse(module, data):
    def build(device):
        net = module().to(device)
        optimizer = torch.optim.SparseAdam(net.parameters())
        held = data()

        def step():
            net(held.to(device)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return build


add("sparse embedding",
    sparse(lambda: nn.Embedding(20000, 64, sparse=True), lambda: whole(20000, 64, 32)),
    "torch.sparse_coo")  # fmt: skip
add("sparse embedding bag",
    sparse(lambda: nn.EmbeddingBag(20000, 64, sparse=True, mode="sum"),
           lambda: whole(20000, 64, 32)),
    "torch.sparse_coo")  # fmt: skip


def detection(device):
    net = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    ).to(device)
    optimizer = PLAIN_SGD(net.parameters())
    images = torch.rand(2, 3, 320, 320)
    boxes = torch.tensor([[10.0, 10.0, 100.0, 100.0]])

    def step():
        targets = [
            {"boxes": boxes.to(device), "labels": torch.ones(1, dtype=torch.int64, device=device)}
            for _ in images
        ]
        sum(net(list(images.to(device)), targets).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("detection", detection, "depends on values")


def compiled(device):
    net = nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 256)).to(device)
    net = torch.compile(net)
    optimizer = PLAIN_SGD(net.parameters())
    data = torch.randn(512, 256)

    def step():
        net(data.to(device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("compiled", compiled, "compile")
add("a mask that selects",
    trained(lambda: nn.Linear(256, 256), normal((512, 256)), lambda m, x: m(x)[x > 0].mean()),
    "depends on values")  # fmt: skip
add("connectionist temporal classification",
    trained(lambda: nn.Linear(64, 32),
            lambda: [torch.randn(100, 8, 64), whole(31, 100, 10) + 1],
            lambda m, x, y: F.ctc_loss(F.log_softmax(m(x), -1), y[:8], torch.full((8,), 100),
                                       torch.full((8,), 10))),
    "ctc_loss")  # fmt: skip


def routed(device):
    """A mixture of experts that sends each row to one of them."""
    gate, experts = nn.Linear(64, 4), nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
    net = nn.ModuleList([gate, experts]).to(device)
    optimizer = PLAIN_SGD(net.parameters())
    data = torch.randn(256, 64)

    def step():
        x = data.to(device)
        chosen = gate(x).argmax(-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(experts):
            (rows,) = torch.where(chosen == number)
            out = out.index_add(0, rows, expert(x[rows]))
        out.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("experts, one a row", routed, "depends on values")
