"""Does a change that is made by hand take what advice promised? Six networks on a card of 8 GB.

    python benchmarks/accuracy/advice.py [--only WORD] [--packages FOLDER] [--card NAME]

Each network's step (advice_networks.py) does not fit the card as it is. What ``advice()`` names
first is made by hand and run on the null device, and so are the first of another kind and
checkpoints. Changes of the model are the code that ``code(id)`` prints, as it is. Where a line is
said to fit, the device is the card; else it has no limit. Prints Markdown, each row as it is done,
and the largest difference. Needs a C compiler, torchvision, and transformers for language models,
if need be in --packages FOLDER.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from advice_networks import NETWORKS, Network
from torch import nn

import ffprof
from ffprof.estimation import AdviceResult
from ffprof.records.estimate import AdviceLine
from ffprof.units import MIB

UNLIMITED = 2**40  # bytes
COLUMNS = (
    "network", "batch", "advice(), s", "line", "change", "fits", "promised: allocated, MiB",
    "reserved", "by hand: allocated, MiB", "reserved", "difference", "on the null device",
    "run, s",
)  # fmt: skip
# Changes that are code for a model, which can be run as it is printed.
OF_MODEL = ("checkpoint", "checkpoint-second", "checkpoint-attention", "inplace", "out-of-place")
# Changes of the loop, which are written out below; and accumulate-N.
OF_LOOP = (
    "bf16", "fp16", "save-on-cpu", "fused", "no-foreach", "sgd", "step-in-backward",
    "channels-last", "expandable-segments",
)  # fmt: skip


def build(device: torch.device, batch: int, network: Network) -> Callable[[], object]:
    """The step as a user has it."""
    model = network.made().to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    inputs = network.inputs(batch, device)

    def step() -> None:
        optimizer.zero_grad()
        loss = network.loss(model, *inputs)
        loss.backward()
        optimizer.step()

    return step


def changed(
    device: torch.device, batch: int, network: Network, codes: Mapping[str, str]
) -> Callable[[], object]:
    """The step with changes made by hand; ``codes`` has them by id, as advice prints them."""
    parts = max([1, *(int(id.removeprefix("accumulate-")) for id in codes if is_accumulation(id))])
    model = network.made().to(device)
    for id in OF_MODEL:
        if id in codes:
            exec(codes[id], {"model": model})
    inputs = network.inputs(batch // parts, device)
    if "channels-last" in codes:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = inputs[0].to(memory_format=torch.channels_last)
        inputs = (images, *inputs[1:])
    trained = [p for p in model.parameters() if p.requires_grad]
    if "step-in-backward" in codes:
        update_in_backward(trained, codes)
    optimizer = None if "step-in-backward" in codes else optimizer_of(trained, codes)
    scaler = torch.amp.GradScaler("cuda") if "fp16" in codes else None

    def step() -> None:
        if optimizer is not None:
            optimizer.zero_grad()
        for _ in range(parts):
            with around_forward(codes):
                loss = network.loss(model, *inputs)
            if parts > 1:
                loss = loss / parts
            (loss if scaler is None else scaler.scale(loss)).backward()
        if optimizer is not None and scaler is None:
            optimizer.step()
        elif optimizer is not None and scaler is not None:
            scaler.step(optimizer)
            scaler.update()

    return step


def optimizer_of(parameters: list[nn.Parameter], codes: Mapping[str, str]) -> torch.optim.Optimizer:
    """The optimizer that the changes say."""
    if "sgd" in codes:
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    if "fused" in codes:
        return torch.optim.AdamW(parameters, fused=True)
    return torch.optim.AdamW(parameters, foreach=False if "no-foreach" in codes else None)


def update_in_backward(parameters: list[nn.Parameter], codes: Mapping[str, str]) -> None:
    """An optimizer for each parameter, which steps as soon as there is a gradient."""
    own = {p: optimizer_of([p], codes) for p in parameters}

    def update(p: torch.Tensor) -> None:
        own[p].step()  # type: ignore[index]
        own[p].zero_grad()  # type: ignore[index]

    for p in own:
        p.register_post_accumulate_grad_hook(update)


def around_forward(codes: Mapping[str, str]) -> AbstractContextManager[Any]:
    """What forward and loss are in."""
    if "save-on-cpu" in codes:
        return torch.autograd.graph.save_on_cpu(pin_memory=True)
    for id, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        if id in codes:
            return torch.autocast("cuda", dtype=kind)
    return nullcontext()


def is_accumulation(id: str) -> bool:
    """Whether it is a change such as accumulate-2."""
    return re.fullmatch(r"accumulate-\d+", id) is not None


def by_hand(line: AdviceLine) -> bool:
    """Whether all of its changes can be made here."""
    return all(id in (*OF_MODEL, *OF_LOOP) or is_accumulation(id) for id in line.ids)


def asked(found: AdviceResult) -> Iterator[tuple[str, AdviceLine]]:
    """The lines that are tried: what is named first, the first of another kind, and checkpoints."""
    advice = found.advice
    named = [one for one in advice.lines if advice.helps(one) and one.effect != "method"]
    fitting = [one for one in named if advice.fits or one.fit == "fits"]
    taken: dict[str, AdviceLine] = {}
    for line in fitting or named:
        if not by_hand(line):
            print(f"{advice.workload}: no variant by hand of {line.id}, so the next", flush=True)
            continue
        kind = "+".join(id.partition("-")[0] for id in line.ids)
        if kind not in taken and len(taken) < 2:
            taken[kind] = line
            yield ("first" if len(taken) == 1 else "next kind"), line
    for line in advice.lines:
        if line.id == "checkpoint" and line not in taken.values() and not line.failed:
            yield "checkpoints", line


def row(
    network: Network, seconds: float, where: str, line: AdviceLine, found: AdviceResult, card: str
) -> float:
    """Print what was promised and what it takes; gives the larger difference as a share."""
    made = functools.partial(
        changed, network=network, codes={id: found.code(id) for id in line.ids}
    )
    began = time.perf_counter()
    took = ffprof.estimate(
        made,
        card=card,
        engine="null",
        allocator="expandable_segments" if "expandable-segments" in line.ids else "default",
        capacity_bytes=None if line.fit == "fits" else UNLIMITED,
        batch=network.batch,
    )
    ran = time.perf_counter() - began
    promised = line.allocated_peak_bytes or 0, line.reserved_peak_bytes or 0
    seen = took.allocated_peak_bytes, took.reserved_peak_bytes
    off = max((a / b - 1 for a, b in zip(promised, seen, strict=True)), key=abs)
    cells = [
        network.name, str(network.batch), f"{seconds:.1f}", where, line.id, line.fit or "-",
        *(f"{size / MIB:.1f}" for size in (*promised, *seen)), f"{off:+.3%}",
        took.fit().answer if line.fit == "fits" and not took.ran_out else "without a limit",
        f"{ran:.0f}",
    ]  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)
    return off


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="networks that have this in their name")
    parser.add_argument("--packages", help="a folder with transformers")
    parser.add_argument("--card", default="RTX 4060")
    options = parser.parse_args()
    if options.packages:
        sys.path.append(options.packages)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    worst, slowest, answers = 0.0, 0.0, []
    for network in NETWORKS:
        if options.only not in network.name:
            continue
        if network.missing:
            print(f"{network.name}: left out, {network.needs} is not installed", flush=True)
            continue
        step = functools.partial(build, network=network)
        as_it_is = ffprof.estimate(step, card=options.card, batch=network.batch)
        began = time.perf_counter()
        found = as_it_is.advice()
        seconds = time.perf_counter() - began
        answers.append(f"{network.name}: {str(found).splitlines()[0]}")
        slowest = max(slowest, seconds)
        for where, line in asked(found):
            off = row(network, seconds, where, line, found, options.card)
            worst = max(worst, off, key=abs)
    print("\n" + "\n".join(answers))
    print(f"\nlargest difference: {worst:+.3%}; slowest advice: {slowest:.1f} s")


if __name__ == "__main__":
    main()
