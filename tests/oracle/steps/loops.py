"""Training loops that are not one model, one loss and one optimizer."""

import copy
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from steps.registry import PLAIN_SGD, add, normal, trained, whole


def _convolutions(*widths):
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _maker():
    return nn.Sequential(
        nn.ConvTranspose2d(64, 64, 4), nn.BatchNorm2d(64), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def _judge():
    return nn.Sequential(_convolutions(3, 32, 64, 128), nn.Linear(128, 1))


def adversarial(penalty=False, precision=None):
    kind = {"bf16": torch.bfloat16}.get(precision)

    def build(device):
        maker, judge = _maker().to(device), _judge().to(device)
        make = torch.optim.Adam(maker.parameters(), 2e-4, betas=(0.5, 0.999))
        tell = torch.optim.Adam(judge.parameters(), 2e-4, betas=(0.5, 0.999))
        photographs = torch.randn(32, 3, 16, 16)

        def step():
            real = photographs.to(device)
            noise = torch.randn(32, 64, 1, 1, device=device)
            with torch.autocast(device.type, kind, enabled=kind is not None):
                made = maker(noise)
                loss = F.softplus(-judge(real)).mean() + F.softplus(judge(made.detach())).mean()
            if penalty:
                mixed = (0.5 * real + 0.5 * made.detach()).requires_grad_()
                (slope,) = torch.autograd.grad(judge(mixed).sum(), mixed, create_graph=True)
                loss = loss + 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
            tell.zero_grad()
            loss.backward()
            tell.step()
            make.zero_grad()
            with torch.autocast(device.type, kind, enabled=kind is not None):
                lost = F.softplus(-judge(made)).mean()
            lost.backward()
            make.step()

        return step

    return build


add("adversarial", adversarial())
add("adversarial bf16", adversarial(precision="bf16"))
add("adversarial, gradient penalty", adversarial(penalty=True))


def _labelled(batch=32, size=32):
    return torch.randn(batch, 3, size, size), whole(10, batch)


def _classifier():
    return nn.Sequential(_convolutions(3, 32, 64, 128), nn.Linear(128, 10))


def averaged(by_hand):
    def build(device):
        model = _classifier().to(device)
        shadow = copy.deepcopy(model).requires_grad_(False)
        if not by_hand:
            average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
            shadow = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        images, labels = _labelled()

        def step():
            F.cross_entropy(model(images.to(device)), labels.to(device)).backward()
            optimizer.step()
            optimizer.zero_grad()
            if not by_hand:
                shadow.update_parameters(model)
                return
            with torch.no_grad():
                for old, new in zip(shadow.parameters(), model.parameters(), strict=True):
                    old.mul_(0.99).add_(new, alpha=0.01)

        return step

    return build


add("moving average by hand", averaged(True))
add("moving average", averaged(False))


def sharpness(device):
    """Two passes: one uphill along the gradient, one from there."""
    model = _classifier().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    images, labels = _labelled()

    def step():
        x, y = images.to(device), labels.to(device)
        F.cross_entropy(model(x), y).backward()
        moved = []
        with torch.no_grad():
            norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
            for parameter in model.parameters():
                uphill = parameter.grad * (0.05 / (norm + 1e-12))
                parameter.add_(uphill)
                moved.append(uphill)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for parameter, uphill in zip(model.parameters(), moved, strict=True):
                parameter.sub_(uphill)
        optimizer.step()
        optimizer.zero_grad()

    return step


add("sharpness-aware", sharpness)


class Adapted(nn.Module):
    """A frozen linear layer and a trained one of low rank beside it."""

    def __init__(self, inner, rank=8):
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.down = nn.Linear(inner.in_features, rank, bias=False)
        self.up = nn.Linear(rank, inner.out_features, bias=False)

    def forward(self, x):
        return self.inner(x) + self.up(self.down(x)) * 2


class Feedforward(nn.Module):
    def __init__(self, width=256, adapted=True, again=False):
        super().__init__()
        wrap = Adapted if adapted else nn.Identity
        self.norm = nn.LayerNorm(width)
        self.up, self.down = wrap(nn.Linear(width, 1024)), wrap(nn.Linear(1024, width))
        self.again = again

    def inside(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))

    def forward(self, x):
        if self.again:
            return checkpoint(self.inside, x, use_reentrant=False)
        return self.inside(x)


def adapters(again, precision=None):
    kind = {"bf16": torch.bfloat16}.get(precision)

    def build(device):
        model = nn.Sequential(*(Feedforward(again=again) for _ in range(4))).to(device)
        trained_ones = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained_ones)
        data = torch.randn(16, 64, 256)

        def step():
            with torch.autocast(device.type, kind, enabled=kind is not None):
                loss = model(data.to(device)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return build


add("low-rank adapters", adapters(False))
add("low-rank adapters bf16", adapters(False, "bf16"))
add("low-rank adapters, checkpointed", adapters(True))


def distilled(device):
    teacher, pupil = _classifier().to(device).eval(), _classifier().to(device)
    optimizer = torch.optim.AdamW(pupil.parameters())
    images, _ = _labelled()

    def step():
        x = images.to(device)
        with torch.no_grad():
            wanted = F.softmax(teacher(x) / 2, -1)
        F.kl_div(F.log_softmax(pupil(x) / 2, -1), wanted, reduction="batchmean").backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("distillation", distilled)


def frozen(device):
    """Only the head is trained."""
    body, head = _convolutions(3, 32, 64, 128).to(device).requires_grad_(False), nn.Linear(128, 10)
    head = head.to(device)
    optimizer = torch.optim.SGD(head.parameters(), 0.1)
    images, labels = _labelled()

    def step():
        F.cross_entropy(head(body(images.to(device))), labels.to(device)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("frozen body", frozen)


def locally(device):
    """Each layer learns by a loss of its own, and hands on what carries no graph."""
    layers = [nn.Linear(512, 512).to(device) for _ in range(4)]
    optimizers = [torch.optim.Adam(layer.parameters(), 1e-3) for layer in layers]
    data = torch.randn(512, 512)

    def step():
        x = data.to(device)
        for layer, optimizer in zip(layers, optimizers, strict=True):
            out = F.relu(layer(F.normalize(x)))
            F.softplus(2 - out.square().mean(1)).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            x = out.detach()

    return step


add("layer by layer", locally)


def in_backward(device):
    """Each parameter is updated as soon as its gradient is there."""
    model = _classifier().to(device)
    for parameter in model.parameters():
        own = torch.optim.SGD([parameter], 0.1, momentum=0.9)

        def update(_, own=own):
            own.step()
            own.zero_grad()

        parameter.register_post_accumulate_grad_hook(update)
    images, labels = _labelled()
    return lambda: F.cross_entropy(model(images.to(device)), labels.to(device)).backward()


add("updates inside backward", in_backward)


def two_groups(device):
    model = _classifier().to(device)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    images, labels = _labelled()

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(images.to(device)), labels.to(device)).backward()
        optimizer.step()
        schedule.step()

    return step


add("two groups and a schedule", two_groups)


def logged(device):
    """Loss and accuracy are read for a log."""
    model = _classifier().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    images, labels = _labelled()
    seen = {"loss": 0.0, "right": 0.0}

    def step():
        optimizer.zero_grad()
        y = labels.to(device)
        out = model(images.to(device))
        loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        seen["loss"] += loss.item()
        seen["right"] += (out.argmax(1) == y).float().mean().item()

    return step


add("logged", logged)


def denoised(device):
    """One step of a diffusion model: noise of a random strength is to be found."""
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1), nn.SiLU(),
        nn.Conv2d(64, 3, 3, padding=1),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters())
    strengths = torch.linspace(1, 0, 1000).to(device)
    images, _ = _labelled(16, 32)

    def step():
        x = images.to(device)
        at = torch.randint(0, 1000, (16,), device=device)
        share, noise = strengths[at][:, None, None, None], torch.randn_like(x)
        found = model(share.sqrt() * x + (1 - share).sqrt() * noise)
        F.mse_loss(found, noise).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


add("diffusion", denoised)


class Encoded(nn.Module):
    def __init__(self):
        super().__init__()
        self.inward, self.outward = nn.Linear(784, 256), nn.Linear(64, 784)
        self.mean, self.spread = nn.Linear(256, 64), nn.Linear(256, 64)

    def forward(self, x):
        hidden = F.relu(self.inward(x))
        mean, spread = self.mean(hidden), self.spread(hidden)
        drawn = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        return self.outward(drawn), mean, spread


def _evidence(net, x):
    out, mean, spread = net(x)
    apart = -0.5 * (1 + spread - mean.square() - spread.exp()).sum()
    return F.binary_cross_entropy_with_logits(out, x, reduction="sum") + apart


add("variational autoencoder", trained(Encoded, normal((1024, 784)), _evidence))


class Doubled(torch.autograd.Function):
    """A function with a derivative of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x


add("a function of its own",
    trained(lambda: nn.Linear(256, 256), normal((1024, 256)),
            lambda m, x: Doubled.apply(m(x)).mean()))  # fmt: skip


def functional(device):
    model = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10)).to(device)
    data = torch.randn(256, 256)

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).square().mean()

    def step():
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            slopes = torch.func.grad(loss)(parameters, data.to(device))
            for name, parameter in parameters.items():
                parameter.sub_(0.1 * slopes[name])

    return step


add("functional gradients", functional)


def second_order(device):
    """The gradient of a gradient's norm."""
    model = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = torch.randn(512, 256)

    def step():
        x = data.to(device)
        slopes = torch.autograd.grad(model(x).sum(), list(model.parameters()), create_graph=True)
        sum(slope.square().sum() for slope in slopes).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("second order", second_order)


def saved_on_host(device):
    model = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.GELU()) for _ in range(4)))
    model = model.to(device)
    optimizer = PLAIN_SGD(model.parameters())
    data = torch.randn(1024, 256)

    def step():
        with torch.autograd.graph.save_on_cpu():
            loss = model(data.to(device)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


add("saved on the host", saved_on_host)


class Experts(nn.Module):
    """Every expert sees every row, weighted by a gate: no size depends on values."""

    def __init__(self, width=256, count=4):
        super().__init__()
        self.gate = nn.Linear(width, count)
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(count))

    def forward(self, x):
        shares = self.gate(x).softmax(-1)
        outs = torch.stack([expert(x) for expert in self.experts], -1)
        return (outs * shares[:, None, :]).sum(-1)


add(
    "experts, all at work", trained(Experts, normal((1024, 256)), lambda m, x: m(x).square().mean())
)
add("lookahead of outputs kept",
    trained(partial(nn.Linear, 512, 512), normal((1024, 512)),
            lambda m, x: sum(m(x * k).square().mean() for k in range(3))))  # fmt: skip
