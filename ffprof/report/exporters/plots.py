"""Plots of frontiers and of sweeps, with matplotlib, which only this needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffprof.analysis.frontier.points import too_close
from ffprof.analysis.summary import MEMORY_MEANING
from ffprof.errors import StoreError, UsageError
from ffprof.records.estimate import Growth
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.trial import Evidence
from ffprof.report.estimate.growth import activations, allocated
from ffprof.report.frontier_table import methods_of
from ffprof.units import GIB, MIB, format_bytes

_MARKERS = "osD^vP*X<>ph"
_LINES = ("-", "--", ":", "-.")


def check_matplotlib() -> None:
    """Fail early if there is nothing to draw with.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib", "pip install matplotlib, or 'ffprof[plot]'")


def draw(found: Sequence[Growth], path: Path) -> None:
    """Two panels: what forward and backward hold, and what is allocated, over the axis.

    Raises:
        UsageError: matplotlib is not installed.
        StoreError: the file cannot be written.
    """
    panels = {
        title: [
            Line(label=one.workload, values=one.values, sizes=tuple(map(figure, one.rows)))
            for one in found
        ]
        for title, figure in (
            ("activations and temporaries held at once", activations),
            ("allocated peak", allocated),
        )
    }
    draw_lines(panels, found[0].axis if found else "", "estimated", path)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Sizes in bytes over values; those that are not known are left out."""

    label: str
    values: Sequence[int]
    sizes: Sequence[int | None]


def draw_lines(
    panels: Mapping[str, Sequence[Line]], axis: str, evidence: Evidence, path: Path
) -> None:
    """Panels by their titles, side by side, with the same lines in each.

    Raises:
        UsageError: matplotlib is not installed.
        StoreError: the file cannot be written.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    (lines, *_) = panels.values()
    drawn = Figure(figsize=(10, 4.8 + 0.12 * len(lines)), layout="constrained")
    most = max((n for of in panels.values() for one in of for n in one.sizes if n), default=0)
    unit, name = (GIB, "GiB") if most >= GIB else (MIB, "MiB")
    places = drawn.subplots(1, len(panels))
    for panel, (title, of_panel) in zip(places, panels.items(), strict=True):
        for number, one in enumerate(of_panel):
            _line(panel, number, one, unit)
        panel.set_title(title, fontsize=11)
        panel.set_xlabel(axis)
        panel.set_ylabel(name)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        if of_panel:
            panel.set_xticks(of_panel[0].values)
    drawn.suptitle(f"Peak CUDA memory over {axis}, {evidence}", fontsize=12)
    handles, labels = places[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    try:
        drawn.savefig(path, dpi=130)
    except OSError as error:
        raise StoreError(
            f"the plot cannot be written to {path}: {error.strerror or error}",
            "choose another file",
        ) from error


def _line(panel: Any, number: int, one: Line, unit: int) -> None:
    known = [(value, n / unit) for value, n in zip(one.values, one.sizes, strict=True) if n]
    panel.plot(
        [value for value, _ in known],
        [size for _, size in known],
        marker=_MARKERS[number % len(_MARKERS)],
        linestyle=_LINES[number // 10 % len(_LINES)],
        markersize=5,
        linewidth=1.6,
        label=one.label,
    )


def draw_frontier(record: FrontierRecord, path: Path) -> None:
    """A line a method through its frontier; what is dominated next to it, hollow if not measured.

    Raises:
        UsageError: matplotlib is not installed.
        StoreError: the file cannot be written.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8.5, 5.6), layout="constrained")
    panel = drawn.subplots()
    shown = [p for p in record.points if p.memory_bytes and p.images_per_second]
    most = max((p.memory_bytes or 0 for p in shown), default=0)
    unit, name = (GIB, "GiB") if most >= GIB else (MIB, "MiB")
    for number, method in enumerate(methods_of(record)):
        ours = [p for p in shown if p.method == method]
        _method(panel, number, ours, method, unit, estimated=record.evidence == "estimated")
    limit = record.budget.limit_bytes
    drawn_limit = bool(limit) and (limit or 0) < 2 * most
    if limit and drawn_limit:
        panel.axhline(
            limit / unit, color="0.4", linestyle=":", linewidth=1.2, label=limit_words(record)
        )
    hollow = ", hollow if not measured" if record.evidence != "estimated" else ""
    panel.set_xlabel(
        f"images per second\nstar: the best; line: the frontier; small: not on it{hollow}; "
        "crossed out: does not fit, or may not"
    )
    device = "cpu" if record.evidence == "measured (cpu)" else "cuda"
    panel.set_ylabel(f"{MEMORY_MEANING[device]}, {name}")
    panel.set_ylim(0, 1.1 * max(most, limit or 0 if drawn_limit else 0, 1) / unit)
    panel.set_xlim(left=0)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(f"Frontier of every method: {record.subject}, {record.evidence}", fontsize=12)
    handles, labels = panel.get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    try:
        drawn.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the plot cannot be written to {path}: {getattr(error, 'strerror', None) or error}",
            "choose another .png, .svg or .pdf file",
        ) from error


def can_be_drawn(record: FrontierRecord) -> bool:
    """Whether any point has a place."""
    return any(p.memory_bytes and p.images_per_second for p in record.points)


def limit_words(record: FrontierRecord) -> str:
    """What the line of the budget is: memory drawn is that of tensors, and so is its limit."""
    budget = record.budget
    names = ", ".join(filter(None, (budget.requested, budget.card)))
    return (
        f"limit for tensors under the budget ({names or 'this GPU'}): "
        f"{format_bytes(budget.limit_bytes)}, context and libraries taken off"
    )


def _method(
    panel: Any, number: int, points: list[Point], method: str, unit: int, *, estimated: bool
) -> None:
    marker, color = _MARKERS[number % len(_MARKERS)], f"C{number % 10}"
    line = sorted((p for p in points if p.on_frontier), key=lambda p: p.memory_bytes or 0)
    panel.plot(
        *_places(line, unit), marker=marker, color=color, markersize=6, linewidth=1.6, label=method
    )
    crossed = [p for p in points if p.standing == "does not fit" or too_close(p)]
    panel.plot(
        *_places(crossed, unit), marker="x", color="black", markersize=5, linestyle="none", zorder=3
    )
    for one in points:
        if one.on_frontier:
            continue
        face = color if one.trials or estimated else "none"
        panel.plot(
            *_places([one], unit), marker=marker, color=color, markersize=4, alpha=0.6,
            markerfacecolor=face, linestyle="none",
        )  # fmt: skip
    best = [p for p in points if p.best]
    panel.plot(
        *_places(best, unit), marker="*", color=color, markersize=15, linestyle="none",
        markeredgecolor="black", markeredgewidth=0.6,
    )  # fmt: skip


def _places(points: list[Point], unit: int) -> tuple[list[float], list[float]]:
    return (
        [p.images_per_second or 0.0 for p in points],
        [(p.memory_bytes or 0) / unit for p in points],
    )
