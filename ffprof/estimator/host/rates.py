"""How fast this machine is at the kinds of work that a trace counts: two short timed kernels.

Under the recipe's threads, in a process of its own, as a trial would run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ffprof.estimator.host.work import Convolution, Rates
from ffprof.hardware.flags import apply_flags
from ffprof.harness.data.batches import Batches, make_batches
from ffprof.records.recipe import FILE_DATA, Recipe

SECONDS = 0.1  # of each kernel
MOST_FLOPS = 2e9  # of one timed convolution; a heavier one is timed on fewer images
FEWEST = 5  # runs of each
NORM_TRAFFIC = 10  # an activation read or written: norm 2, rectifier 2, backward of each 3
# What an operator of a training step costs beside its work, over one on next to nothing: threads
# that start, Python in between. From the steps of presets smoke and small on an idle machine.
OPERATOR_FACTOR = 5
CHAIN = 50  # operators on next to nothing, to see what one costs beside its work


def rates_of_machine(recipe: Recipe, device: torch.device, typical: Convolution) -> Rates:
    """Rates of convolutions and of other operators, and what an operator costs at least."""
    began = time.perf_counter()
    apply_flags(recipe)
    batches = make_batches(recipe, device.type)
    batches.batch(0)
    data_seconds = time.perf_counter() - began
    batch_seconds = _batch_seconds(batches) if recipe.data in FILE_DATA else 0.0
    per_image = typical.flops / typical.input[0]
    images = max(1, min(typical.input[0], int(MOST_FLOPS / per_image)))
    x = torch.randn(images, *typical.input[1:], device=device, requires_grad=True)
    convolution, norm, chain = _convolution(typical, x), _norm(x), _chain(device)
    return Rates(
        flops_per_second=3 * per_image * images / _best(convolution, device),
        bytes_per_second=NORM_TRAFFIC * x.nbytes / _best(norm, device),
        operator_seconds=OPERATOR_FACTOR * _best(chain, device) / (2 * CHAIN),
        data_seconds=data_seconds,
        batch_seconds=batch_seconds,
        inside_seconds=time.perf_counter() - began,
    )


def _batch_seconds(batches: Batches) -> float:
    """Of loading a batch in this process, after a first one; the files may be cached by then."""
    began = time.perf_counter()
    batches.batch(1)
    return time.perf_counter() - began


def _convolution(typical: Convolution, x: Tensor) -> Callable[[], object]:
    weight = torch.randn(typical.weight, device=x.device, requires_grad=True)
    shape = (typical.stride, typical.padding, typical.dilation, typical.groups)
    grad = torch.randn_like(F.conv2d(x, weight, None, *shape))
    return lambda: torch.autograd.grad(F.conv2d(x, weight, None, *shape), (x, weight), grad)


def _norm(x: Tensor) -> Callable[[], object]:
    grad = torch.ones_like(x)
    return lambda: torch.autograd.grad(F.batch_norm(x, None, None, training=True).relu(), x, grad)


def _chain(device: torch.device) -> Callable[[], object]:
    x = torch.zeros(8, device=device, requires_grad=True)

    def once() -> object:
        y = x
        for _ in range(CHAIN):
            y = y * 2
        return torch.autograd.grad(y.sum(), x)

    return once


def _best(once: Callable[[], object], device: torch.device) -> float:
    """Seconds with the recipe's threads, or with one where that is faster.

    Where another program has one of the processors, threads wait for each other at every kernel,
    and what is timed is the scheduler.
    """
    threads = torch.get_num_threads()
    taken = [_seconds(once, device)]
    if threads > 1 and device.type == "cpu":
        torch.set_num_threads(1)
        taken.append(_seconds(once, device))
        torch.set_num_threads(threads)
    return min(taken)


def _seconds(once: Callable[[], object], device: torch.device) -> float:
    once()  # the first call prepares
    taken: list[float] = []
    while sum(taken) < SECONDS or len(taken) < FEWEST:
        _wait(device)
        began = time.perf_counter()
        once()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return min(taken)  # what else runs here must not be taken for the kernel


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
