"""``ffprof cards``: which GPUs are known, and what about them; without importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ffprof.hardware.card import Card


class _Format(StrEnum):
    table = "table"
    json = "json"


def cards(
    name: str = typer.Argument(None, help="One card, with every figure and its source."),
    format: _Format = typer.Option(_Format.table, "--format", "-f", help="How to write it."),
) -> None:
    """List the cards that ffprof has a profile of, or show one of them with its sources."""
    from ffprof.hardware.cards import find_card, known_cards

    shown = known_cards() if name is None else [find_card(name)]
    if format is _Format.json:
        import json

        found = [_facts(card) for card in shown]
        print(json.dumps(found if name is None else found[0], indent=1))
    elif name is None:
        _print_list(shown)
    else:
        _print_card(shown[0])


def _facts(card: Card) -> dict[str, object]:
    """Everything that is known, in the units of the names."""
    from dataclasses import asdict

    return {**asdict(card), "pcie_bytes_per_second": card.pcie_bytes_per_second}


def _print_list(shown: list[Card]) -> None:
    from rich.table import Table

    from ffprof.report.terminal import OutputConsole
    from ffprof.units import format_bytes

    console = OutputConsole()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("card", "for CUDA", "GB/s", "fp32", "fp16", "architecture"):
        numeric = column in ("for CUDA", "GB/s", "fp32", "fp16")
        table.add_column(column, no_wrap=True, justify="right" if numeric else "left")
    for card in shown:
        table.add_row(
            card.name,
            format_bytes(card.cuda_total_bytes),
            f"{card.bandwidth_bytes_per_second / 1e9:.0f}",
            _tera(card.fp32_flops),
            _tera(card.fp16_tensor_flops),
            card.architecture,
        )
    console.print(table, crop=False)
    console.print(
        "fp32 and fp16 (tensor cores): peaks in TFLOP/s. ffprof cards NAME tells the sources.",
        style="dim",
        soft_wrap=True,
    )


def _print_card(card: Card) -> None:
    from rich.text import Text

    from ffprof.report.terminal import OutputConsole

    console = OutputConsole()
    console.print(Text(card.name, style="bold"))
    for label, value, key in _lines(card):
        line = Text(f"  {label:<15} {value}")
        if key:
            line.append(f"\n  {'':<15} {card.sources[key]}", style="dim")
        console.print(line, soft_wrap=True)


def _lines(card: Card) -> Iterator[tuple[str, str, str]]:
    """(label, value, key of its source) of every figure."""
    from ffprof.units import format_bytes

    major, minor = card.compute_capability
    yield "sold as", format_bytes(card.sold_as_bytes), ""
    yield "architecture", f"{card.architecture}, {card.chip}, {card.year}", "architecture"
    yield "capability", f"{major}.{minor}", "compute_capability"
    yield "SMs", str(card.sm_count), "sm_count"
    yield "driver's total", format_bytes(card.driver_total_bytes), "driver_total_mib"
    yield "for CUDA", format_bytes(card.cuda_total_bytes), "cuda_total_mib"
    bandwidth = f"{card.bandwidth_bytes_per_second / 1e9:g} GB/s, {card.memory_type}"
    yield "bandwidth", bandwidth, "bandwidth_gb_s"
    for key, rate in (
        ("fp32", card.fp32_flops),
        ("tf32", card.tf32_flops),
        ("fp16_tensor", card.fp16_tensor_flops),
        ("bf16_tensor", card.bf16_tensor_flops),
    ):
        if rate is None:
            yield key.replace("_", " "), "no units for it", ""
        else:
            yield key.replace("_", " "), f"{_tera(rate)} TFLOP/s", f"{key}_tflops"
    yield "power", f"{card.tdp_watts} W", "tdp_watts"
    link = f"PCIe {card.pcie_generation}.0 x{card.pcie_lanes}"
    yield "link", f"{link}, {card.pcie_bytes_per_second / 1e9:.1f} GB/s each way", "pcie"
    yield "confidence", f"{card.confidence} (in the driver's total)", ""
    if card.class_objection:
        yield "not used for", f"a size such as --gpu-mem 8GB: {card.class_objection}", ""


def _tera(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / 1e12:.1f}"
