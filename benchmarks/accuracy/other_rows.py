"""The rows of data/measured_gpu_memory.csv that are not timm's, one by one.

Each loop is the source's as far as it is told; what had to be guessed is said at the place.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from copy import deepcopy

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.layers import set_fused_attn, use_fused_attn
from torch import Tensor, nn

from ffprof.estimator.allocator import AllocatorConfig, CachingAllocator
from ffprof.estimator.cuda.workspaces import WorkspaceModel, resolve
from ffprof.estimator.replay import Run
from ffprof.estimator.tracing.trace import trace
from ffprof.units import MIB

Build = Callable[[torch.device], Callable[[], object]]
# cuDNN as it comes, and cublasLt with a workspace of its own, as before torch 2.9 or so.
PLAIN = WorkspaceModel(autotuned=False, lt_bytes=MIB)


class Toy(nn.Module):
    """github.com/WSShiro/vramexp, vramexp1.ipynb."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.pool = nn.AvgPool2d(2, 2)
        self.fc = nn.Linear(8 * 111 * 111, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of ten classes."""
        return self.fc(self.pool(self.conv(x)).flatten(1))


def vramexp(model: Callable[[], nn.Module]) -> Build:
    """Its loop: SGD without momentum, targets as probabilities, batches moved from the host."""

    def build(device: torch.device) -> Callable[[], object]:
        module = model().to(device)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        held: dict[str, Tensor] = {}

        def step() -> None:
            held.pop("x", None), held.pop("y", None)
            held["x"] = torch.randn(128, 3, 224, 224).to(device)
            held["y"] = torch.randn(128, 10).to(device)
            optimizer.zero_grad()
            held["out"] = module(held["x"])
            held["loss"] = F.cross_entropy(held["out"], held["y"])
            held["loss"].backward()
            optimizer.step()

        return step

    return build


class BertLayer(nn.Module):
    """A layer of BERT with plain attention, as transformers 4.18 to 4.27 computes it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The next layer's input."""

        def split(t: Tensor) -> Tensor:
            return t.view(*t.shape[:2], self.heads, -1).permute(0, 2, 1, 3)

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = q @ k.transpose(-1, -2)
        scores = scores / q.shape[-1] ** 0.5
        scores = scores + mask
        weights = F.dropout(F.softmax(scores, -1), 0.1)
        mixed = (weights @ v).permute(0, 2, 1, 3).contiguous().flatten(2)
        x = self.norms[0](F.dropout(self.out(mixed), 0.1) + x)
        return self.norms[1](F.dropout(self.down(F.gelu(self.up(x))), 0.1) + x)


class Bert(nn.Module):
    """bert-large-cased with a classifier."""

    def __init__(self) -> None:
        super().__init__()
        width = 1024
        self.words, self.places = nn.Embedding(28996, width), nn.Embedding(512, width)
        self.kinds, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)
        self.layers = nn.ModuleList(BertLayer(width, 16) for _ in range(24))
        self.pool, self.head = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores of two classes."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.words(ids) + self.kinds(torch.zeros_like(ids)) + self.places(places)
        x = F.dropout(self.norm(x), 0.1)
        bias = (1.0 - mask[:, None, None, :].float()) * -1e4
        for layer in self.layers:
            x = layer(x, bias)
        return self.head(F.dropout(torch.tanh(self.pool(x[:, 0])), 0.1))


def bert(device: torch.device) -> Callable[[], object]:
    """huggingface.co/docs/transformers perf_train_gpu_one: Trainer, batch 4, 512 tokens."""
    with torch.device(device):
        module = Bert()
    # The Trainer's own AdamW of those releases goes parameter by parameter.
    optimizer = torch.optim.AdamW(module.parameters(), foreach=False)

    def step() -> None:
        ids = torch.zeros(4, 512, dtype=torch.long, device=device)
        mask = torch.ones(4, 512, dtype=torch.long, device=device)
        labels = torch.zeros(4, dtype=torch.long, device=device)
        F.cross_entropy(module(ids, mask), labels).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        # Before torch 2.0 gradients were filled with zeros and stayed.
        optimizer.zero_grad(set_to_none=False)

    return step


def deit(device: torch.device) -> Callable[[], object]:
    """github.com/ziplab/Mesa: DeiT's own loop with mixed precision and an averaged copy."""
    model = timm.create_model("deit_small_patch16_224").to(device)
    average = deepcopy(model)
    # torch 1.7 has no foreach optimizers.
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    scaler = torch.amp.GradScaler(device.type)
    held: dict[str, Tensor] = {}

    def step() -> None:
        images = torch.randn(128, 3, 224, 224).to(device)
        targets = torch.randn(128, 1000).to(device)
        with torch.autocast(device.type, dtype=torch.float16):
            held["out"] = model(images)
            loss = torch.sum(-targets * F.log_softmax(held["out"], -1), -1).mean()
        optimizer.zero_grad(set_to_none=False)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), model.parameters(), strict=True):
                mean.copy_(mean * 0.9999 + 0.0001 * now)

    return step


@contextmanager
def plain_attention():
    before = bool(use_fused_attn())
    set_fused_attn(False)
    yield
    set_fused_attn(before)


def other_rows() -> None:
    """Print them."""

    def resnet() -> nn.Module:
        model = torchvision.models.resnet50()
        model.fc = nn.Linear(model.fc.in_features, 10)
        return model

    rows: list[tuple[str, Build, str, float, float]] = [
        ("toy CNN", vramexp(Toy), "allocated", 530.9, 0),
        ("toy CNN", vramexp(Toy), "reserved", 604.0, 0),
        ("torchvision resnet50", vramexp(resnet), "allocated", 10702.7, 0),
        ("bert-large-cased, context as measured there", bert, "reserved", 14949.0, 1343),
        ("deit_small, mixed precision", deit, "allocated", 8459.0, 0),
    ]
    print("\n| row | of | measured | predicted | tensors alone |\n|---|---|---|---|---|")
    for name, build, what, measured, beside in rows:
        with plain_attention():
            stream = trace(build)
        values = []
        for model in (PLAIN, WorkspaceModel.none()):
            resolved = resolve(stream, model)
            allocator = CachingAllocator(config=AllocatorConfig(ties="address"))
            Run(resolved, allocator, include_workspaces=True).forward(len(resolved.events))
            peaks = {
                "allocated": allocator.allocated_peak_bytes,
                "reserved": allocator.reserved_peak_bytes,
            }
            values.append(peaks[what] / MIB + beside)
        off = [f"{value:.1f} ({100 * (value - measured) / measured:+.1f} %)" for value in values]
        print(f"| {name} | {what} | {measured:.1f} | {off[0]} | {off[1]} |", flush=True)


if __name__ == "__main__":
    other_rows()
