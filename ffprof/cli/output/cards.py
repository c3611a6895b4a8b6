"""Cards as a list, one with its sources, and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.text import Text

from ffprof.errors import one_line
from ffprof.hardware.profile import Card
from ffprof.report.exporters.terminal import OutputConsole
from ffprof.units import GIB, MIB, format_bytes


def gpus_here(own: tuple[Card, ...]) -> list[tuple[str, Card | None]]:
    """Every kind of GPU that NVML shows, by its name, and the card that it is."""
    from ffprof.hardware.cards import recognise
    from ffprof.hardware.doctor.readers.nvml import read_nvml

    found = {
        (gpu.name, gpu.total_bytes): recognise(gpu.name, gpu.total_bytes, None, own)
        for gpu in read_nvml().gpus
    }
    return [(name, card) for (name, _), card in found.items()]


# The list with the column of architectures is this wide.
_WIDE = 100
_LABEL = 18  # columns before a value


def card_json(card: Card, *, here: bool) -> dict[str, object]:
    """Everything that is known, in the units of the names; ``here``: it is in this machine."""
    more = {"pcie_bytes_per_second": card.pcie_bytes_per_second, "here": here}
    return {**asdict(card), **more}


def print_list(shown: Sequence[Card], here: Sequence[tuple[str, Card | None]]) -> None:
    """One line a card, by size; ``here`` has the machine's own GPUs, which are marked."""
    console = OutputConsole()
    wide = console.width >= _WIDE
    columns = ["card", "by NVML", "for CUDA", "GB/s", "fp32", "fp16"]
    if wide:
        columns.append("architecture")
    mine = [card for _, card in here if card]
    groups = {
        size: [_row(card, wide=wide, here=card in mine) for card in cards]
        for size, cards in _by_size(shown)
    }
    rows = [columns, *(row for group in groups.values() for row in group)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    console.print(Text(_line(columns, widths), style="bold"), soft_wrap=True)
    for size, group in groups.items():
        console.print(Text(_means(size), style="dim"), soft_wrap=True)
        for row in group:
            bold = row[0].endswith(_MARK)
            console.print(Text(_line(row, widths), style="bold" if bold else ""), soft_wrap=True)
    for line in _captions(shown, here):
        wrapped = textwrap.wrap(
            line, max(20, console.width - 1), break_on_hyphens=False, break_long_words=False
        )
        console.print(Text("\n".join(wrapped), style="dim"), soft_wrap=True)


_MARK = " *"
_NUMERIC = range(3, 6)  # columns


def _by_size(shown: Sequence[Card]) -> Iterator[tuple[int, list[Card]]]:
    for size in sorted({card.sold_as_bytes for card in shown}):
        yield size, [card for card in shown if card.sold_as_bytes == size]


def _means(size: int) -> str:
    """The heading of a size: which card it stands for."""
    from ffprof.hardware.budget import budget_for

    text = f"{size / GIB:g}GB"
    card = budget_for(text).card
    return f"{text}: as a budget, the {_short(card)}" if card else f"{text}: as a budget, no card"


def _short(name: str) -> str:
    return name.removeprefix("GeForce ")


def _row(card: Card, *, wide: bool, here: bool) -> list[str]:
    return [
        (card.name if wide else _short(card.name)) + (_MARK if here else ""),
        _total(card.nvml_total_bytes, card.nvml_confidence),
        _total(card.cuda_total_bytes, card.cuda_confidence),
        f"{card.bandwidth_bytes_per_second / 1e9:.0f}",
        _rate(card.fp32_flops),
        _rate(card.fp16_tensor_flops),
        *([card.architecture] if wide else []),
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if index in _NUMERIC else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def _captions(shown: Sequence[Card], here: Sequence[tuple[str, Card | None]]) -> Iterator[str]:
    for name, card in here:
        called = one_line(name)[:80]
        if card is None:
            yield f"This machine's {called} has no profile: ffprof cards --template prints one."
        else:
            yield f"* this machine's {called}"
    yield from (f"{card.name}: from {card.origin}" for card in shown if card.origin)
    yield (
        "Totals with how sure they are: read in several public logs (high), once (medium), or "
        "inferred from another card (low). fp32 and fp16 (tensor cores): peaks in TFLOP/s. "
        "ffprof cards NAME shows the sources, ffprof cards 24GB the cards of a size."
    )


def print_card(card: Card) -> None:
    """Every figure of a card with the number of its source, as wide as the terminal."""
    console = OutputConsole()
    console.print(Text(card.name, style="bold"))
    numbers: dict[str, int] = {}
    for label, value, key in _lines(card):
        if key:
            number = numbers.setdefault(card.sources[key], len(numbers) + 1)
            value = f"{value} [{number}]"
        console.print(_flowed(f"  {label}".ljust(_LABEL), value, console.width), soft_wrap=True)
    console.print(Text("Sources", style="bold"))
    for source, number in numbers.items():
        console.print(_flowed(f" {f'[{number}]':>4} ", source, console.width), soft_wrap=True)


def _flowed(first: str, text: str, width: int) -> Text:
    """``text`` behind ``first`` and, on further lines, below itself; links stay whole."""
    lines = textwrap.wrap(
        text,
        max(30, width - 1),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return Text("\n".join(lines))


def _lines(card: Card) -> Iterator[tuple[str, str, str]]:
    """(label, value, key of its source) of every figure."""
    major, minor = card.compute_capability
    yield "sold as", format_bytes(card.sold_as_bytes), ""
    if card.also_called:
        yield "also called", ", ".join(card.also_called), ""
    if card.origin:
        yield "profile", card.origin, ""
    yield "architecture", f"{card.architecture}, {card.chip}, {card.year}", "architecture"
    yield "capability", f"{major}.{minor}", "compute_capability"
    yield "SMs", str(card.sm_count), "sm_count"
    for label, size, confidence, key in (
        ("by NVML", card.nvml_total_bytes, card.nvml_confidence, "nvml_total_bytes"),
        ("for CUDA", card.cuda_total_bytes, card.cuda_confidence, "cuda_total_bytes"),
    ):
        told = f"{format_bytes(size)} ({size / MIB:.0f} MiB), confidence {confidence}"
        yield label, told, key
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
    if card.class_objection:
        sold = f"{card.sold_as_bytes / GIB:g}GB"
        yield "not used for", f"a size such as --gpu-mem {sold}: {card.class_objection}", ""


def _total(size: int, confidence: str) -> str:
    return f"{format_bytes(size)} {confidence}"


def _rate(rate: float | None) -> str:
    """As ``_tera``, in four letters."""
    return _tera(rate) if rate is None or rate < 99.95e12 else f"{rate / 1e12:.0f}"


def _tera(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / 1e12:.1f}"
