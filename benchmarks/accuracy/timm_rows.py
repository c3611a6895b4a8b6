"""The training step behind the timm rows of data/measured_gpu_memory.csv, and what it holds.

The rows come from github.com/itu-rad/GPUMemNet (Related_works/FakeTensor): timm models, each
trained for a minute with timm's own train.py on a 40 GB card, the maximum of nvidia-smi or dcgmi.
Versions are not told; the loop here is train.py's with its defaults
(github.com/huggingface/pytorch-image-models, train.py and timm/data/loader.py):

- ``torch.backends.cudnn.benchmark = True``, TF32 in convolutions, float32, contiguous.
- SGD with Nesterov momentum 0.9 and weight decay 2e-5 in two groups, foreach.
- Label smoothing 0.1; the loss lives until the next one replaces it, the output does not.
- ``optimizer.zero_grad()`` after ``optimizer.step()``, gradients set to None.
- The loader makes the next batch on a CUDA stream of its own, so it has blocks of its own: bytes
  and floats of one batch, and the floats of two more that are still in use.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from torch import nn

from ffprof.estimator.stream import Allocation, Stream
from ffprof.estimator.tracing.trace import trace

DATA = Path(__file__).parent / "data" / "measured_gpu_memory.csv"
BATCHES_IN_USE = 3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One timm row."""

    model: str
    batch: int
    size: int
    mib: float


def measured_rows() -> list[Measured]:
    with DATA.open(newline="") as file:
        return [
            Measured(
                model=row["model"],
                batch=int(row["batch"]),
                size=int(row["image_size"]),
                mib=float(row["measured_mib"]),
            )
            for row in csv.DictReader(file)
            if row["library"] == "timm"
        ]


def streams(rows: list[Measured]) -> Iterator[tuple[Measured, Stream]]:
    """Trace them all; each model is made once, because drawing its weights takes longest."""
    for name in dict.fromkeys(row.model for row in rows):
        model = timm.create_model(name)
        for row in rows:
            if row.model == name:
                yield row, _without_batch(trace(_build(model, row)), row)


def loader_stream(row: Measured) -> Stream:
    """What timm's prefetching loader asks of the allocator on its own CUDA stream."""
    stream = Stream()
    pixels = row.batch * 3 * row.size**2

    def ask(nbytes: int) -> int:
        return stream.allocate(Allocation(nbytes, "data", "data", "", "loader"))

    held: list[tuple[int, int]] = []
    for _ in range(2 * BATCHES_IN_USE):
        as_bytes, labels = ask(pixels), ask(8 * row.batch)
        held.append((ask(4 * pixels), labels))
        stream.free(as_bytes)
        if len(held) == BATCHES_IN_USE:
            for number in held.pop(0):
                stream.free(number)
    return stream


def _build(model: nn.Module, row: Measured) -> Callable[[torch.device], Callable[[], None]]:
    def build(device: torch.device) -> Callable[[], None]:
        _renew(model, device)
        model.train()
        optimizer = create_optimizer_v2(
            model, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9, foreach=True
        )
        criterion = LabelSmoothingCrossEntropy(0.1)
        kept: dict[str, Any] = {}
        images = torch.empty(row.batch, 3, row.size, row.size, device=device)
        labels = torch.empty(row.batch, dtype=torch.long, device=device)

        def loss() -> torch.Tensor:
            return criterion(model(images), labels)

        def step() -> None:
            kept["loss"] = loss()
            kept["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return build


def _renew(model: nn.Module, device: torch.device) -> None:
    """Give a model that exists parameters and buffers on the device."""
    for module in model.modules():
        for name, old in list(module._parameters.items()):
            if old is not None:
                empty = torch.empty(old.shape, dtype=old.dtype, device=device)
                module._parameters[name] = nn.Parameter(empty, old.requires_grad)
        for name, old in list(module._buffers.items()):
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype, device=device)


def _without_batch(stream: Stream, row: Measured) -> Stream:
    """Leave out the batch, which lies among the loader's blocks; it is made last and kept."""
    sizes = [8 * row.batch, row.batch * 3 * row.size**2 * 4]
    built = {name: position for position, name in stream.marks}["built"]
    for event in reversed(stream.events[:built]):
        if sizes and event >= 0 and stream.allocations[event].nbytes == sizes[0]:
            stream.allocations[event].nbytes = 0
            sizes.pop(0)
    assert not sizes, f"{row}: the batch was not found"
    return stream
