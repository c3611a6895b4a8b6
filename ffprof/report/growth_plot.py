"""The plot of a sweep, with matplotlib, which only this needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from ffprof.errors import StoreError, UsageError
from ffprof.records.estimate import Growth, PeakRow
from ffprof.report.growth import activations, allocated
from ffprof.units import GIB, MIB

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
    check_matplotlib()
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 4.8 + 0.12 * len(found)), layout="constrained")
    panels = drawn.subplots(1, 2)
    sizes = [size for one in found for row in one.rows if (size := allocated(row))]
    unit, name = (GIB, "GiB") if max(sizes, default=0) >= GIB else (MIB, "MiB")
    axis = found[0].axis if found else ""
    for panel, title, figure in (
        (panels[0], "activations and temporaries held at once", activations),
        (panels[1], "allocated peak", allocated),
    ):
        for number, one in enumerate(found):
            _line(panel, number, one, figure, unit)
        panel.set_title(title, fontsize=11)
        panel.set_xlabel(axis)
        panel.set_ylabel(name)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        if found:
            panel.set_xticks(found[0].values)
    drawn.suptitle(f"Peak CUDA memory over {axis}, estimated", fontsize=12)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    try:
        drawn.savefig(path, dpi=130)
    except OSError as error:
        raise StoreError(
            f"the plot cannot be written to {path}: {error.strerror or error}",
            "choose another file",
        ) from error


def _line(
    panel: object,
    number: int,
    one: Growth,
    figure: Callable[[PeakRow], int | None],
    unit: int,
) -> None:
    points = [
        (value, size / unit)
        for value, row in zip(one.values, one.rows, strict=True)
        if (size := figure(row)) is not None
    ]
    panel.plot(  # type: ignore[attr-defined]
        [value for value, _ in points],
        [size for _, size in points],
        marker=_MARKERS[number % len(_MARKERS)],
        linestyle=_LINES[number // 10 % len(_LINES)],
        markersize=5,
        linewidth=1.6,
        label=one.workload,
    )
