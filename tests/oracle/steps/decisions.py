"""Loops of public bug reports that decide something before or while they train, in our own words.

What the host knows is decided as on a GPU; what only the device knows is refused by the tracer.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from steps.registry import ADAMW, add, whole
from steps.reported import guarded, small_net


class Encoder(nn.Module):
    """Two encoder layers over words; ``masked`` says what becomes of a mask of padding."""

    def __init__(self, masked):
        super().__init__()
        self.masked = masked
        self.words = nn.Embedding(500, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True)
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(2))
        self.head = nn.Linear(128, 500)

    def forward(self, words, mask):
        padded = self.masked(mask)
        x = self.words(words)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padded)
        return self.head(x)


def _needs_none(mask):
    return None if torch.all(mask == 1) else mask == 0


def language(masked, on_host):
    """Words with a mask of padding, which is looked at on the host or on the device."""

    def build(device):
        model = Encoder(masked).to(device)
        optimizer = ADAMW(model.parameters())
        words, mask = whole(500, 8, 64), torch.ones(8, 64, dtype=torch.long)

        def step():
            there = words.to(device)
            out = model(there, mask if on_host else mask.to(device))
            F.cross_entropy(out.flatten(0, 1), there.flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return build


add("padding asked on the host", language(_needs_none, True))
add("padding asked on the device", language(_needs_none, False), "value")


def words_hidden(on_host):
    """A sixth of the words is hidden; the loss is over those alone, by labels of -100."""

    def build(device):
        model = Encoder(lambda mask: None).to(device)
        optimizer = ADAMW(model.parameters())
        words = whole(500, 8, 64)

        def step():
            held = words if on_host else words.to(device)
            labels, inputs = held.clone(), held.clone()
            hidden = torch.rand(held.shape, device=held.device) < 1 / 6
            labels = labels.masked_fill(~hidden, -100)
            inputs[hidden] = 3
            out = model(inputs.to(device), None)
            F.cross_entropy(out.flatten(0, 1), labels.to(device).flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return build


add("words hidden on the host", words_hidden(True))
add("words hidden on the device", words_hidden(False))


add("a loss that is no number is left out",
    guarded(lambda loss, *_: bool(not torch.isnan(loss))), "value")  # fmt: skip
add("half must be wrong",
    guarded(lambda _, out, y, best: bool((out.argmax(1) == y).float().mean() <= 0.5)),
    "value")  # fmt: skip


def optimizer_first(device):
    """The optimizer is made of parameters that move afterwards, some of them of ones."""
    model = small_net()
    model.scale = nn.Parameter(torch.ones(10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model.to(device)
    data, labels = torch.randn(256, 256), whole(10, 256)

    def step():
        out = model(data.to(device)) * model.scale
        F.cross_entropy(out, labels.to(device)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("optimizer before the device", optimizer_first)


def switched_off(device):
    """Attention with all kernels but the plain one switched off."""
    model = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True).to(device)
    optimizer = ADAMW(model.parameters())
    data = torch.randn(8, 64, 128)

    def step():
        with sdpa_kernel(SDPBackend.MATH):
            model(data.to(device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("attention by the plain kernel", switched_off)


def averaged_and_offloaded(device):
    """A moving average of the weights, and activations that wait on the host."""
    model = small_net().to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    data, labels = torch.randn(256, 256), whole(10, 256)

    def step():
        with torch.autograd.graph.save_on_cpu():
            loss = F.cross_entropy(model(data.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
                ours.lerp_(theirs, 0.01)

    return step


add("average and activations on the host", averaged_and_offloaded)


class EightBit(torch.optim.Optimizer):
    """Adam's form with moments of one byte a weight and a scale for 256 of them."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 1e-3})

    @torch.no_grad()
    def step(self):
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            blocks = -(-parameter.numel() // 256)
            if not state:
                for name in ("first", "second"):
                    state[name] = torch.zeros_like(parameter, dtype=torch.uint8)
                    state[f"{name} scale"] = torch.zeros(blocks, device=parameter.device)
            moment = state["first"].float() * 0.9 + parameter.grad * 0.1
            state["first"].copy_(moment.clamp(0, 255))
            parameter.add_(moment, alpha=-1e-3)


def adapted(device):
    """Low-rank adapters at the convolutions of a frozen net, with states of eight bits."""
    body = nn.Sequential(*(nn.Conv2d(32, 32, 3, padding=1) for _ in range(4)))
    body.requires_grad_(False).to(device)
    pairs = nn.ModuleList(
        nn.Sequential(nn.Conv2d(32, 4, 1, bias=False), nn.Conv2d(4, 32, 1, bias=False))
        for _ in body
    ).to(device)
    optimizer = EightBit(pairs.parameters())
    data = torch.randn(8, 32, 48, 48)

    def step():
        x = data.to(device)
        for conv, pair in zip(body, pairs, strict=True):
            x = F.silu(conv(x) + pair(x))
        x.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("adapters, states of eight bits", adapted)
