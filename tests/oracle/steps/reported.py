"""Loops of public bug reports that other families do not have, in words of our own."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from steps.registry import PLAIN_SGD, add, whole


def labels_over_pixels(device):
    """A local layer sees images whose first pixels are the label, right and wrong ones."""
    layer = nn.Linear(784, 500).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), 0.03)
    images, labels = torch.rand(256, 784), whole(10, 256)

    def marked(x, y):
        out = x.clone()
        out[:, :10] = 0.0
        out[range(x.shape[0]), y] = x.max()
        return out

    def step():
        x, y = images.to(device), labels.to(device)
        good, bad = marked(x, y), marked(x, y[torch.randperm(256, device=device)])
        for_good = F.relu(layer(good / (good.norm(2, 1, keepdim=True) + 1e-4))).square().mean(1)
        for_bad = F.relu(layer(bad / (bad.norm(2, 1, keepdim=True) + 1e-4))).square().mean(1)
        torch.log(1 + torch.exp(torch.cat([2 - for_good, for_bad - 2]))).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("labels over pixels", labels_over_pixels)


class Rectified(torch.autograd.Function):
    """A rectifier that lets every gradient through."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad):
        return grad.clone()


def peers(device):
    """Layers by themselves, with a running mean over peers as a part of the loss."""
    layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(3)).to(device)
    means = [torch.zeros(256, device=device) + 0.5 for _ in layers]
    optimizer = torch.optim.SGD(layers.parameters(), 0.1, momentum=0.9)
    data = torch.randn(256, 256)

    def step():
        optimizer.zero_grad()
        x, loss = data.to(device), torch.zeros(1, device=device)
        for number, layer in enumerate(layers):
            x = Rectified.apply(layer(x / (x.square().mean(-1, keepdim=True).sqrt() + 1e-5)))
            mean = 0.9 * means[number].detach() + 0.1 * x[:128].mean(0)
            means[number] = mean
            loss = loss + 0.03 * (mean.mean() - mean).square().mean()
            loss = loss + F.softplus(2 - x.square().sum(-1)).mean()
            x = x.detach()
        loss.backward()
        optimizer.step()

    return step


add("peers and a function of its own", peers)


def small_net():
    return nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 10))


def two_passes_scaled(device):
    """Two passes as sharpness-aware training has them, under a loss scale."""
    model = small_net().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scaler = torch.amp.GradScaler(device.type)
    data, labels = torch.randn(256, 256), whole(10, 256)

    def loss():
        with torch.autocast(device.type, torch.float16):
            return F.cross_entropy(model(data.to(device)), labels.to(device))

    def step():
        scaler.scale(loss()).backward()
        scaler.unscale_(optimizer)
        with torch.no_grad():
            moved = [p.grad * 0.05 for p in model.parameters()]
            torch._foreach_add_(list(model.parameters()), moved)
        optimizer.zero_grad()
        scaler.update()
        scaler.scale(loss()).backward()
        with torch.no_grad():
            torch._foreach_sub_(list(model.parameters()), moved)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return step


add("sharpness-aware fp16", two_passes_scaled)


def by_sample(device):
    """A gradient for every sample, clipped by itself."""
    model = small_net().to(device)
    data, labels = torch.randn(64, 256), whole(10, 64)

    def loss(parameters, x, y):
        out = torch.func.functional_call(model, parameters, (x[None],))
        return F.cross_entropy(out, y[None])

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))

    def step():
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        each = gradients(parameters, data.to(device), labels.to(device))
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()]).norm(dim=0)
        share = (1.0 / (norms + 1e-6)).clamp(max=1.0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.sub_(0.1 * torch.einsum("i,i...->...", share, each[name]) / 64)

    return step


add("gradients by sample", by_sample)


def checkpointed_without_inputs(device):
    """Checkpointed by reentry, from inputs that are made to need gradients."""
    blocks = nn.ModuleList(nn.Linear(256, 256) for _ in range(4)).to(device)
    optimizer = PLAIN_SGD(blocks.parameters())
    data = torch.randn(256, 256)

    def step():
        x = data.to(device).requires_grad_()
        for block in blocks:
            x = checkpoint(block, x, use_reentrant=True)
        x.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("checkpointed by reentry", checkpointed_without_inputs)


def guarded(question):
    """The usual step, which asks a question of its loss, and goes on unless that says False."""

    def build(device):
        model = small_net().to(device)
        optimizer = PLAIN_SGD(model.parameters())
        data, labels = torch.randn(256, 256), whole(10, 256)
        best = {"loss": float("inf"), "right": 0.0}

        def step():
            y = labels.to(device)
            out = model(data.to(device))
            loss = F.cross_entropy(out, y)
            if question(loss, out, y, best) is not False:
                loss.backward()
                optimizer.step()
            optimizer.zero_grad()

        return step

    return build


def _keeps_best(loss, out, y, best):
    best["loss"] = min(best["loss"], loss.item())


def _counts(loss, out, y, best):
    best["right"] += (out.argmax(1) == y).sum().item() / len(y)


def _asks_the_card(loss, out, y, best):
    if torch.cuda.is_available():
        torch.cuda.synchronize()


add("best loss is kept", guarded(_keeps_best), "a number read from a tensor is compared")
add("right answers are counted", guarded(_counts))
add("waits for the card", guarded(_asks_the_card))
