"""Public training speeds against the roofline: fits its constants on half of the networks.

    PYTHONPATH=. python benchmarks/accuracy/roofline.py [--fit] [--splits 20]

Without --fit, the constants of ffprof.estimator.roofline are judged as they are. The streams come
from training_steps.py; networks of timm need that package, and are left out without it. The band is
what holds nine tenths of the networks that were not fitted, over all shuffled splits. Rows with
less than CARD_BOUND_SECONDS a kernel on average are reported apart: there half precision is hardly
faster than fp32 on the same card, so the host sets the pace.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.util
import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from training_steps import training_step

from ffprof.estimator.roofline import (
    CARD_BOUND_SECONDS,
    FITTED,
    Efficiencies,
    kernels_of,
    kind_of,
    step_time,
)
from ffprof.estimator.stream import Operator
from ffprof.hardware.profile import Card

DATA = Path(__file__).parent / "data"
COVERAGE = 0.9
FREE = (  # name, start, bounds
    ("fp32_compute", 0.8, 0.3, 2.0),
    ("tensor_flops_per_sm_cycle", 800.0, 200.0, 20000.0),
    ("contiguous_slowdown", 1.3, 1.0, 3.0),
    ("memory", 0.8, 0.4, 1.0),
    ("normalisation_memory", 0.6, 0.2, 1.0),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One public speed, with the operators of its step."""

    card: Card
    model: str
    precision: str
    layout: str
    tf32: bool
    seconds: float
    operators: tuple[Operator, ...]

    @property
    def per_kernel(self) -> float:
        """Seconds a kernel, on average."""
        return self.seconds / sum(
            one.times * kernels_of(one.name)
            for one in self.operators
            if kind_of(one.name, one.phase) != "no work"
        )

    @property
    def group(self) -> tuple[str, str, str]:
        """What is weighed and printed together."""
        return self.card.name, self.precision, self.layout

    def off(self, efficiencies: Efficiencies) -> float:
        """Logarithm of estimated over measured time."""
        estimate = step_time(
            self.operators,
            self.card,
            precision="fp16",
            tf32=self.tf32,
            channels_last=self.layout == "channels_last",
            efficiencies=efficiencies,
        )
        return math.log(estimate.seconds / self.seconds)


def read_cards() -> dict[str, Card]:
    """What a roofline asks of the cards that the public speeds were measured on."""
    cards = {}
    with (DATA / "public_cards.csv").open() as file:
        for line in csv.DictReader(file):
            generation, lanes = line["pcie"].removeprefix("PCIe ").split(".0 x")
            major, minor = line["compute_capability"].split(".")
            cards[line["name"]] = Card(
                name=line["name"],
                sold_as_bytes=0,
                nvml_total_bytes=0,
                cuda_total_bytes=0,
                nvml_confidence="low",
                cuda_confidence="low",
                architecture=line["architecture"],
                chip="",
                year=0,
                compute_capability=(int(major), int(minor)),
                sm_count=int(line["sm_count"]),
                memory_type="",
                bandwidth_bytes_per_second=float(line["bandwidth_gb_s"]) * 1e9,
                fp32_flops=float(line["fp32_tflops"]) * 1e12,
                tf32_flops=tera(line["tf32_tflops"]),
                fp16_tensor_flops=tera(line["fp16_tensor_tflops"]),
                bf16_tensor_flops=tera(line["bf16_tensor_tflops"]),
                tdp_watts=0,
                pcie_generation=int(generation),
                pcie_lanes=int(lanes),
                class_objection="",
                sources={},
            )
    return cards


def tera(text: str) -> float | None:
    return float(text) * 1e12 if text else None


@functools.cache
def operators_of(
    library: str, model: str, batch: int, image: int, precision: str, optimizer: str, host: bool
) -> tuple[Operator, ...]:
    if library == "timm":
        import timm

        timm.layers.set_fused_attn(False)  # it was not there when these speeds were measured
        make: Any = functools.partial(timm.create_model, model)
    else:
        import torchvision

        make = getattr(torchvision.models, model)
    return tuple(
        training_step(
            make,
            batch=batch,
            image=image,
            precision=precision,
            optimizer=optimizer,
            host_input=host,
        )
    )


def read_rows() -> list[Row]:
    cards, rows, left_out = read_cards(), [], 0
    with (DATA / "public_throughputs.csv").open() as file:
        for line in csv.DictReader(file):
            if importlib.util.find_spec(line["library"]) is None:
                left_out += 1
                continue
            batch = int(line["batch"])
            rows.append(
                Row(
                    card=cards[line["card"]],
                    model=line["model"],
                    precision=line["precision"],
                    layout=line["layout"],
                    tf32=line["tf32"] == "yes",
                    seconds=batch / float(line["images_per_second"]),
                    operators=operators_of(
                        line["library"],
                        line["model"],
                        batch,
                        int(line["image"]),
                        line["precision"],
                        line["optimizer"],
                        line["host_input"] == "yes",
                    ),
                )
            )
    if left_out:
        print(f"{left_out} rows are left out: timm is not installed")
    return rows


def fit(rows: Sequence[Row]) -> Efficiencies:
    """Soft L1 on the logarithms, so that a few odd rows weigh little.

    One card, precision and layout may have fifty rows and another one; each row weighs the
    fourth root less, between counting rows and counting groups.
    """
    many = Counter(row.group for row in rows)
    weights = np.array([many[row.group] ** -0.25 for row in rows])

    def residuals(values: Any) -> Any:
        made = with_values(values)
        return weights * np.array([row.off(made) for row in rows])

    names, start, low, high = zip(*FREE, strict=True)
    del names
    found = least_squares(
        residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1, x_scale=start
    )
    return with_values(found.x)


def with_values(values: Sequence[float]) -> Efficiencies:
    named = {name: float(value) for (name, *_), value in zip(FREE, values, strict=True)}
    return replace(FITTED, **named)


def halves(rows: Sequence[Row], seed: int | None) -> tuple[list[Row], list[Row]]:
    """Rows by network: every other name in alphabetical order, or shuffled."""
    names = sorted({row.model for row in rows})
    if seed is not None:
        random.Random(seed).shuffle(names)
    chosen = set(names[::2])
    return [r for r in rows if r.model in chosen], [r for r in rows if r.model not in chosen]


def errors(rows: Sequence[Row], efficiencies: Efficiencies) -> list[float]:
    return [row.off(efficiencies) for row in rows]


def summary(offs: Sequence[float]) -> str:
    relative = [abs(math.exp(off) - 1) for off in offs]
    return (
        f"{len(offs):4} rows: median error {statistics.median(relative):.3f}, 90th percentile "
        f"{np.quantile(relative, 0.9):.3f}, median ratio {math.exp(statistics.median(offs)):.2f}"
    )


def band(offs: Sequence[float]) -> tuple[float, float]:
    """What the time is multiplied by, so that the band holds COVERAGE of these rows."""
    side = (1 - COVERAGE) / 2
    low, high = np.quantile([-off for off in offs], [side, 1 - side])
    return math.exp(low), math.exp(high)


def held(offs: Sequence[float], efficiencies: Efficiencies) -> float:
    low, high = math.log(efficiencies.band_low), math.log(efficiencies.band_high)
    return statistics.mean(low <= -off <= high for off in offs)


def print_table(rows: Sequence[Row], efficiencies: Efficiencies) -> None:
    groups = defaultdict(list)
    for row in rows:
        groups[row.group].append(row.off(efficiencies))
    print(
        f"\n{'card':18} {'precision':9} {'layout':14} {'rows':>4} {'estimated / measured time':>26}"
    )
    for (card, precision, layout), offs in sorted(groups.items()):
        low, middle, high = (math.exp(np.quantile(offs, q)) for q in (0.1, 0.5, 0.9))
        spread = f"  ({low:.2f} to {high:.2f})" if len(offs) > 1 else ""
        print(f"{card:18} {precision:9} {layout:14} {len(offs):4} {middle:8.2f}{spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="fit the constants again")
    parser.add_argument("--splits", type=int, default=20, help="shuffled splits, each fitted")
    options = parser.parse_args()
    everything = read_rows()
    rows = [row for row in everything if row.per_kernel >= CARD_BOUND_SECONDS]
    waiting = [row for row in everything if row.per_kernel < CARD_BOUND_SECONDS]
    fitted, test = halves(rows, None)
    chosen = fit(fitted) if options.fit else FITTED
    shuffled = []
    for seed in range(options.splits):
        one, two = halves(rows, seed)
        shuffled.append(errors(two, fit(one)))
    if options.fit and shuffled:
        low, high = band([off for offs in shuffled for off in offs])
        chosen = replace(chosen, band_low=low, band_high=high, band_coverage=COVERAGE)
    for name in (*(name for name, *_ in FREE), "band_low", "band_high"):
        print(f"{name:27} {getattr(chosen, name):.4g}")
    networks, cards = len({r.model for r in rows}), len({r.card.name for r in rows})
    print(f"{networks} networks, {cards} cards")
    print(f"fitted half    {summary(errors(fitted, chosen))}")
    offs = errors(test, chosen)
    print(f"other half     {summary(offs)}, in the band: {held(offs, chosen):.2f}")
    print(f"host sets pace {summary(errors(waiting, chosen))}")
    print_table(rows, chosen)
    print()
    for seed, offs in enumerate(shuffled):
        print(f"split {seed:2}: {summary(offs)}, in the band: {held(offs, chosen):.2f}")


if __name__ == "__main__":
    main()
