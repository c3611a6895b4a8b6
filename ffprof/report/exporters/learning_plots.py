"""Plots of learning studies for print: one column wide, in colours that greys tell apart, too.

Lines and points are labelled where they are, by a colour, a line and a marker of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ffprof.analysis.learning.gaps import Gap, judge_gaps
from ffprof.analysis.learning.summary import LearningRow, summarise_learning, task_words
from ffprof.analysis.statistics.differences import mean_of
from ffprof.errors import StoreError, UsageError
from ffprof.records.learning import LearningRecord
from ffprof.report.document import clean
from ffprof.report.exporters.plots import check_matplotlib
from ffprof.units import GIB, MIB

WIDTH = 3.5  # inches: one column of two on a page
# Okabe and Ito (2008), "Color Universal Design", without the yellow, ordered so that neighbours
# differ in lightness as well.
_COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = "osD^vP*X"
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_FONT: Any = {
    "font.size": 7.5, "axes.labelsize": 7.5, "axes.titlesize": 8, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.1, "pdf.fonttype": 42,
}  # fmt: skip
_Figure = Callable[[LearningRow], float | None]
PLOTS = ("curves", "accuracy-memory", "accuracy-time", "accuracy-energy", "gap")


def draw_learning(records: Sequence[LearningRecord], kind: str, path: Path) -> None:
    """Draw one of ``PLOTS``; of several records, each has a panel of its own.

    Args:
        records: the studies.
        kind: what to draw.
        path: a .png, .svg or .pdf file.

    Raises:
        UsageError: there is no such plot, nothing to draw, or no matplotlib.
        StoreError: the file cannot be written.
    """
    if kind not in PLOTS:
        raise UsageError(f"--plot {kind} is unknown", f"a study has {', '.join(PLOTS)}")
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = [one for record in records for one in _panels(record, kind)]
    if not panels:
        raise UsageError(f"--plot {kind}: {_LACKS[kind]}", "draw another plot, or let it end")
    with rc_context(_FONT):
        drawn = Figure(
            figsize=(WIDTH * (1 if len(panels) == 1 else 2), 2.5 * ((len(panels) + 1) // 2)),
            layout="constrained",
        )
        # Two gaps are there to be compared.
        places = drawn.subplots(
            (len(panels) + 1) // 2, min(2, len(panels)), squeeze=False, sharey=kind == "gap"
        )
        flat = list(places.flat)
        for place, (title, draw) in zip(flat, panels, strict=False):
            draw(place)
            place.spines[["top", "right"]].set_visible(False)
            place.grid(alpha=0.25, linewidth=0.4)
            if len(panels) > 1:
                place.set_title(title)
        for place in flat[len(panels) :]:
            place.set_visible(False)
        drawn.draw_without_rendering()
        for place in flat:
            _free_labels(place) if kind in _CLOUDS else _spread_labels(place)
        try:
            drawn.savefig(path, dpi=300)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the plot cannot be written to {path}: "
                f"{getattr(error, 'strerror', None) or error}",
                "choose another .png, .svg or .pdf file",
            ) from error


_CLOUDS = ("accuracy-memory", "accuracy-time", "accuracy-energy")
_LACKS = {
    "curves": "no run has a validation accuracy",
    "accuracy-memory": "no run has an accuracy and a memory",
    "accuracy-time": "no run has an accuracy",
    "accuracy-energy": "no run has an accuracy and an energy",
    "gap": "the study has no line over numbers of classes or images",
}
_Panel = tuple[str, Callable[[Any], None]]


def _panels(record: LearningRecord, kind: str) -> list[_Panel]:
    """What can be drawn of a record, a panel each, with its title."""
    if kind == "gap":
        gaps = [gap for gap in judge_gaps(record) if gap.line is not None]
        style = _styles(record)
        return [(record.recipe.data, lambda place: _gaps(place, gaps, style))] if gaps else []
    found: list[_Panel] = []
    for task in range(len(record.plan.tasks)):
        title = f"{record.recipe.data}, {task_words(record, task)}"
        draw = _curves(record, task) if kind == "curves" else _against(record, task, kind)
        if draw is not None:
            found.append((title, draw))
    return found


def _styles(record: LearningRecord) -> dict[str, dict[str, Any]]:
    """A look for each workload, the same in all plots of a record."""
    return {
        name: {
            "color": _COLOURS[at % len(_COLOURS)],
            "marker": _MARKERS[at % len(_MARKERS)],
            "linestyle": _LINES[at % len(_LINES)],
        }
        for at, name in enumerate(record.plan.workloads)
    }


def _curves(record: LearningRecord, task: int) -> Callable[[Any], None] | None:
    """Validation accuracy by epoch: the mean of the seeds, in a band from lowest to highest."""
    curves: dict[str, list[list[float]]] = {}
    for run in record.runs:
        if run.task != task or run.outcome not in ("ok", "unfinished"):
            continue
        rule = run.rule or next(
            (r for e in run.epochs if e.validation for r in e.validation.accuracy), ""
        )
        scores = [100 * e.validation.accuracy[rule] for e in run.epochs
                  if e.validation is not None and rule in e.validation.accuracy]  # fmt: skip
        if scores:
            curves.setdefault(run.workload, []).append(scores)
    if not curves:
        return None
    styles = _styles(record)

    def draw(place: Any) -> None:
        for name in (one for one in record.plan.workloads if one in curves):
            # As far as all seeds have come: the mean of others would jump where one ends.
            steps = list(zip(*curves[name], strict=False))
            epochs = range(1, len(steps) + 1)
            means = [fmean(step) for step in steps]
            look = styles[name]
            place.fill_between(
                epochs, [min(s) for s in steps], [max(s) for s in steps],
                color=look["color"], alpha=0.18, linewidth=0,
            )  # fmt: skip
            place.plot(epochs, means, color=look["color"], linestyle=look["linestyle"])
            _label(place, name, epochs[-1], means[-1], look["color"])
        place.set_xlabel("epoch")
        place.set_ylabel("validation accuracy, %")
        place.locator_params(axis="x", integer=True)

    return draw


def _against(record: LearningRecord, task: int, kind: str) -> Callable[[Any], None] | None:
    """Test accuracy with its interval over what it took, a point a workload."""
    rows = [row for row in summarise_learning(record) if row.task == task and row.accuracy]
    sizes = [row.memory.median for row in rows if row.memory]
    unit, name = (GIB, "GiB") if max(sizes, default=0) >= GIB else (MIB, "MiB")
    memory = next((row.memory_is for row in rows if row.memory_is), "memory")
    known: dict[str, tuple[_Figure, str]] = {
        "accuracy-memory": (
            lambda row: None if row.memory is None else row.memory.median / unit,
            f"{memory}, {name}",
        ),
        "accuracy-time": (
            lambda row: None if row.seconds is None else row.seconds.median,
            "training time, s",
        ),
        "accuracy-energy": (
            lambda row: None if row.joules is None else row.joules.median / 1e3,
            "energy of training, kJ",
        ),
    }
    figure, words = known[kind]
    points = [(row, value) for row in rows if (value := figure(row)) is not None]
    if not points:
        return None
    styles = _styles(record)
    shared = kind == "accuracy-time" and any(row.shared for row, _ in points)

    def draw(place: Any) -> None:
        for row, value in points:
            assert row.accuracy is not None
            look = styles[row.workload]
            place.errorbar(
                value, row.accuracy.value, yerr=row.accuracy.half or 0.0, color=look["color"],
                marker=look["marker"], markersize=4.5, capsize=2, elinewidth=0.8,
            )  # fmt: skip
            _label(place, row.workload, value, row.accuracy.value, look["color"])
        place.set_xlabel(words + (" (shared machine)" if shared else ""))
        place.set_ylabel("test accuracy, %")
        place.set_xlim(left=0)

    return draw


def _gaps(place: Any, gaps: Sequence[Gap], styles: dict[str, dict[str, Any]]) -> None:
    """The gap over K: means over seeds with 95 % intervals, and the fitted line."""
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    place.axhline(0, color="0.35", linewidth=0.6)
    place.set_xscale("log", base=2)
    known: set[float] = set()
    for number, gap in enumerate(gaps):
        line, series = gap.line, gap.series
        assert line is not None
        look = styles[series.workload]
        known |= set(line.classes)
        for k in line.classes:
            mean = mean_of([g for c, g in zip(series.numbers, series.gaps, strict=True) if c == k])
            if mean is not None:
                # Side by side, so that intervals at one K do not hide each other.
                at = k * 2 ** (0.07 * (number - (len(gaps) - 1) / 2))
                place.errorbar(
                    at, mean.value, yerr=mean.half or 0.0, color=look["color"],
                    marker=look["marker"], markersize=3.5, capsize=1.5, elinewidth=0.7,
                )  # fmt: skip
        ends = [line.ends[0], line.ends[1]]
        place.plot(
            [end.classes for end in ends], [end.gap for end in ends],
            color=look["color"], linestyle=look["linestyle"], zorder=1,
        )  # fmt: skip
        _label(place, series.workload, ends[1].classes, ends[1].gap, look["color"])
    place.xaxis.set_major_locator(FixedLocator(sorted(known)))
    place.xaxis.set_minor_locator(NullLocator())
    place.xaxis.set_major_formatter(ScalarFormatter())
    place.set_xlabel("classes K" if gaps[0].series.along == "classes" else "training images")
    name = clean(gaps[0].series.baseline)
    # Verdicts hold together, so their intervals are wider than these.
    place.set_ylabel(f"{name} less workload, points\n(bars: 95 % of each mean)", parse_math=False)


def _label(place: Any, name: str, x: float, y: float, color: str) -> None:
    """The name to the right of a point."""
    place.annotate(
        clean(name), (x, y), xytext=(5, 0), textcoords="offset points", va="center", ha="left",
        color=color, fontsize=7, annotation_clip=False, parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8},
    )  # fmt: skip


def _spread_labels(place: Any) -> None:
    """Move names apart that stand on each other, up and down in equal parts."""
    labels = [one for one in place.texts if one.get_text()]
    labels.sort(key=lambda one: one.get_window_extent().y0)
    scale = place.figure.dpi / 72
    for _ in range(50):
        moved = False
        boxes = [one.get_window_extent() for one in labels]
        for at in range(len(labels)):
            for to in range(at + 1, len(labels)):
                low, high = boxes[at], boxes[to]
                across = low.x0 < high.x1 and high.x0 < low.x1
                overlap = low.y1 - high.y0
                if across and overlap > 0.5:
                    for label, sign in ((labels[at], -1), (labels[to], 1)):
                        x, y = label.get_position()
                        label.set_position((x, y + sign * (overlap / 2 + 0.5) / scale))
                    boxes = [one.get_window_extent() for one in labels]
                    moved = True
        if not moved:
            return


# Where a name may stand to its point, in points of 1/72 inch, and how it is aligned.
_SIDES = (
    (5, 0, "left", "center"), (-5, 0, "right", "center"), (0, 9, "center", "bottom"),
    (0, -9, "center", "top"), (4, 6, "left", "bottom"), (4, -6, "left", "top"),
    (-4, 6, "right", "bottom"), (-4, -6, "right", "top"),
)  # fmt: skip


def _free_labels(place: Any) -> None:
    """Put every name on the first side of its point where it covers no other name and no point."""
    from matplotlib.transforms import Bbox

    reach = 3.5 * place.figure.dpi / 72  # of a marker
    taken = []
    for label in place.texts:
        x, y = place.transData.transform(label.xy)
        taken.append(Bbox.from_extents(x - reach, y - reach, x + reach, y + reach))
    limits = place.figure.bbox
    for label in place.texts:
        tried: list[tuple[int, int, Any, tuple[int, int, str, str]]] = []
        for x, y, across, upright in _SIDES:
            label.set(position=(x, y), ha=across, va=upright)
            box = label.get_window_extent()
            outside = box.x1 > limits.x1 or box.x0 < place.bbox.x0 or box.y1 > limits.y1
            clashes = box.count_overlaps(taken) + 10 * outside
            tried.append((clashes, len(tried), box, (x, y, across, upright)))
            if not clashes:
                break
        _, _, box, (x, y, across, upright) = min(tried, key=lambda one: one[:2])
        label.set(position=(x, y), ha=across, va=upright)
        taken.append(box)
