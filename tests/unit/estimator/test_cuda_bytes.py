"""Peaks of small steps, equal to those of PyTorch's own CUDA code to the byte.

The figures are ``torch.cuda.max_memory_allocated`` and ``max_memory_reserved`` of the first and of
the second step, by torch 2.14.1 on the null device (24 multiprocessors of 1,536 threads, compute
capability 8.9, no workspace of cuDNN). `make oracle` compares many more.
"""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import ffprof
from ffprof.errors import UsageError

pytestmark = pytest.mark.slow


class Residual(nn.Module):
    """Gradients meet at its input."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def trained(model, *shapes, loss=None, kind=None, loops=False):
    """A build of one step of SGD on inputs of those shapes."""

    def build(device):
        module = model().to(device)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, foreach=not loops)
        data = [torch.randn(*shape) for shape in shapes]

        def step():
            inputs = [one.to(device) for one in data]
            with torch.autocast(device.type, kind, enabled=kind is not None):
                value = (loss or (lambda m, x: m(x).square().mean()))(module, *inputs)
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return build


def residual_blocks():
    inner = [nn.Sequential(nn.Conv2d(64, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1)) for _ in range(3)]
    return nn.Sequential(nn.Conv2d(3, 64, 1), *map(Residual, inner))


def checkpointed(module, x):
    for part in module:
        x = checkpoint(part, x, use_reentrant=False)
    return x.square().mean()


def two_uses(module, x):
    y = module(x)
    parts = (y.sin() * y.cos(), y * y, y.t().exp(), y.view(-1).tan())
    return sum(part.mean() for part in parts)


# Name: the step, (allocated, reserved) of the first, and of the second.
STEPS = {
    "gradients that meet": (
        trained(residual_blocks, (16, 3, 64, 64)),
        (185439744, 186646528),
        (185439744, 186646528),
    ),
    "gradients that meet, checkpointed": (
        trained(residual_blocks, (16, 3, 64, 64), loss=checkpointed),
        (135108096, 136314880),
        (135108096, 136314880),
    ),
    "a tensor of many uses": (
        trained(lambda: nn.Linear(512, 512), (4096, 512), loss=two_uses),
        (118623232, 150994944),
        (127142912, 171966464),
    ),
    "weights that autocast copies": (
        trained(
            lambda: nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(4))),
            (64, 2048),
            kind=torch.bfloat16,
        ),
        (160171008, 186646528),
        (160171008, 186646528),
    ),
    "sums that blocks share": (
        trained(lambda: nn.Linear(1024, 2048), (8192, 1024)),
        (386016256, 392167424),
        (394535936, 459276288),
    ),
    "rms_norm": (
        trained(lambda: nn.Sequential(nn.Linear(256, 256), nn.RMSNorm(256)), (8192, 256)),
        (67537920, 85983232),
        (76057600, 106954752),
    ),
    "dropout": (
        trained(lambda: nn.Sequential(nn.Linear(512, 512), nn.Dropout(0.5)), (8192, 512)),
        (114428928, 144703488),
        (122948608, 144703488),
    ),
    "attention, mse_loss and layer_norm": (
        trained(
            lambda: nn.TransformerEncoderLayer(256, 4, 512, batch_first=True),
            (8, 128, 256),
            (8, 128, 256),
            loss=lambda m, x, y: nn.functional.mse_loss(m(x), y),
        ),
        (43555840, 58720256),
        (43555840, 58720256),
    ),
    "linear and layer_norm on permuted input": (
        trained(
            lambda: nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 256)),
            (64, 512, 256),
            loss=lambda m, x: m(x.transpose(0, 1)).square().mean(),
        ),
        (243929088, 257949696),
        (252448768, 257949696),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_peaks_are_those_of_cuda(name):
    build, first, second = STEPS[name]
    found = ffprof.estimate(build)

    assert (found.cold_allocated_peak_bytes, found.cold_reserved_peak_bytes) == first
    assert (found.allocated_peak_bytes, found.reserved_peak_bytes) == second


def test_autocast_of_cuda_by_name_is_refused_where_cuda_is_available():
    def build(device):
        module = nn.Linear(4, 4).to(device)

        def step():
            before = torch.is_autocast_enabled("cuda")
            torch.set_autocast_enabled("cuda", True)  # as torch.autocast("cuda") does there
            try:
                module(torch.ones(2, 4, device=device)).sum().backward()
            finally:
                torch.set_autocast_enabled("cuda", before)

        return step

    with pytest.raises(UsageError, match="autocast is on for 'cuda'"):
        ffprof.estimate(build)


def test_an_autocast_context_of_the_caller_makes_no_difference():
    build, _, second = STEPS["weights that autocast copies"]
    with torch.autocast("cpu", torch.bfloat16):
        found = ffprof.estimate(build)
        assert torch.is_autocast_enabled("cpu")

    assert (found.allocated_peak_bytes, found.reserved_peak_bytes) == second
