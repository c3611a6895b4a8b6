"""What the proofs have in common, on any device: whole training runs of a workload."""

from functools import cache

import torch

from ffprof.harness.data.batches import make_batches
from ffprof.harness.step import build_step
from ffprof.workload import find_workload

# (schedule, the one it must equal bit for bit): the same training, executed otherwise.
EXACT = [
    ("dtg-ff-streamed", "dtg-ff"),
    ("dtg-ff-streamed-accum", "dtg-ff-accum"),
    ("dtg-ff-twopass", "dtg-ff-coupled"),
    ("dtg-ff-twopass-accum", "dtg-ff-coupled-accum"),
    ("asge-streamed", "asge"),
    ("bp-ckpt", "bp"),
    ("bp-ckpt-accum", "bp-accum"),
    ("bp-ckpt-sqrt", "bp"),
    ("bp-ckpt-sqrt-accum", "bp-accum"),
    ("bp-fused-step", "bp"),
    ("bp-offload", "bp"),
]


@cache
def trained_once(name, made, **more):
    """The same for all who are held to it; nobody changes what it returns."""
    return trained(name, made, **more)


def trained(name, made, steps=3, device="cpu", dtype=None):
    """All parameters, buffers and losses after a few steps of the harness's own."""
    workload = find_workload(name)
    built = build_step(workload, made, torch.device(device), dtype)
    batches, losses = make_batches(made, "cpu"), []
    micro = workload.micro_batch(made)
    for number in range(steps):
        images, labels = batches.batch(number)
        images = images.to(dtype or images.dtype)
        parts = list(zip(images.split(micro), labels.split(micro), strict=True))
        losses.append(built.step(parts))
    state = {k: v.detach().clone() for k, v in built.module.state_dict().items()}
    return {**state, "losses": torch.stack(losses)}


def same(one, other):
    """Equal names and equal bits."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def plain_backward(loss, carried=()):
    """What the harness hands to ``accumulate``, without weight, scale or autocast."""
    tensors, gradients = zip(*carried, strict=True) if carried else ((), ())
    torch.autograd.backward((loss, *tensors), (None, *gradients))
