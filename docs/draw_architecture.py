"""Draws docs/architecture.svg: the packages of ffprof in layers, from their imports.

    python docs/draw_architecture.py

An arrow stands for an import. One that other arrows imply is left out, and named in the box.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
# Imported by all, so no arrow is drawn to them.
BASE = ("errors", "units", "version")
# Where a package stands in its layer: 0 left, 1 in the middle, 2 right; the others take all three.
COLUMN = {
    "experiments": 1, "report": 2, "estimator": 1, "analysis": 2, "harness": 1, "hardware": 1,
    "workload": 0, "instruments": 1, "nulldevice": 2,
}  # fmt: skip
# Where there is room for a package that could stand higher.
LOWERED = {"nulldevice": 3}
# Beside ffprof: what is added without touching it, and the package that finds it.
BESIDE = {"workloads": ("workload", 0, -1), "hw_profiles": ("hardware", 2, 0)}

WIDTH, MARGIN, GAP = 1080, 24, 30
BOX_WIDTH = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
BOX_HEIGHT, LAYER = 106, 140
WIDE_HEIGHT = 92  # of a box over all columns
TOP = 24
COLOURS = {  # fill and edge
    "cli": ("#e8eefc", "#3b5bdb"), "experiments": ("#e8eefc", "#3b5bdb"),
    "report": ("#e6f6ec", "#2f9e44"), "analysis": ("#e6f6ec", "#2f9e44"),
    "records": ("#fff4de", "#e08e0b"),
}  # fmt: skip
INSIDE = ("#f3edfb", "#7048c6")  # what runs in, or stands in for, the process of a trial
PLAIN = ("#f6f7f9", "#868e96")


@dataclass(frozen=True)
class Package:
    """What is drawn of a package."""

    name: str
    purpose: str
    folders: tuple[str, ...]
    modules: int
    lines: int
    imports: frozenset[str]


def packages() -> dict[str, Package]:
    """The packages of ffprof, by name."""
    found = {}
    for folder in sorted((ROOT / "ffprof").iterdir()):
        if (folder / "__init__.py").exists():
            found[folder.name] = _package(folder)
    return found


def _package(folder: Path) -> Package:
    paths = sorted(folder.rglob("*.py"))
    trees = {path: ast.parse(path.read_text()) for path in paths}
    imported = {
        (node.module or "").split(".")[1]
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ffprof.")
    }
    told = ast.get_docstring(trees[folder / "__init__.py"]) or ""
    first = told.split("\n\n")[0].replace("\n", " ")
    for end in (". ", ";"):
        first = first.split(end)[0]
    return Package(
        name=folder.name,
        purpose=first.rstrip("."),
        folders=tuple(p.parent.name for p in paths if p.name == "__init__.py")[1:],
        modules=sum(path.name != "__init__.py" for path in paths),
        lines=sum(len(path.read_text().splitlines()) for path in paths),
        imports=frozenset(imported - {folder.name, *BASE}),
    )


def below(name: str, known: dict[str, Package]) -> set[str]:
    """What a package imports, directly or through others."""
    direct = known[name].imports
    return set(direct).union(*(below(other, known) for other in direct))


def layers(known: dict[str, Package]) -> dict[str, int]:
    """Package -> its layer, 0 at the top: one below the lowest of those that import it, or less."""

    def depth(name: str) -> int:
        above = [one.name for one in known.values() if name in one.imports]
        return max(1 + max(map(depth, above), default=-1), LOWERED.get(name, 0))

    return {name: depth(name) for name in known}


def arrows(known: dict[str, Package]) -> list[tuple[str, str]]:
    """The imports that no other imports imply."""
    return [
        (name, to)
        for name, one in known.items()
        for to in sorted(one.imports)
        if not any(to in below(other, known) for other in one.imports)
    ]


def _left(name: str) -> float:
    return MARGIN + COLUMN.get(name, 0) * (BOX_WIDTH + GAP)


def _width(name: str) -> float:
    return BOX_WIDTH if name in COLUMN else WIDTH - 2 * MARGIN


def _height(name: str) -> int:
    return BOX_HEIGHT if name in COLUMN else WIDE_HEIGHT


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def _box(one: Package, top: float, implied: list[str]) -> list[str]:
    left, width, height = _left(one.name), _width(one.name), _height(one.name)
    fill, edge = COLOURS.get(one.name, INSIDE)
    if one.name in ("hardware", "instruments", "workload"):
        fill, edge = PLAIN
    drawn = [
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height}" rx="8" '
        f'fill="{fill}" stroke="{edge}"/>',
        _text(left + 14, top + 25, f"{one.name}/", "name"),
        f'<text class="count" x="{left + width - 14:g}" y="{top + 25:g}">'
        f"{one.modules} modules · {round(one.lines, -2):,} lines</text>",
    ]
    wide = int(width / 6.7)
    y = top + 44
    for line in textwrap.wrap(one.purpose, wide)[:2]:
        drawn.append(_text(left + 14, y, line, "purpose"))
        y += 16
    if one.folders:
        drawn.append(_text(left + 14, y, " ".join(f"{name}/" for name in one.folders), "folders"))
    if implied:
        words = "also: " + ", ".join(implied)
        drawn.append(_text(left + 14, top + height - 10, words, "implied"))
    return drawn


def _arrow(name: str, to: str, tops: dict[str, float]) -> str:
    start, end = tops[name] + _height(name), tops[to] - 2
    lefts = [(_left(one), _left(one) + _width(one)) for one in (name, to)]
    shared = max(left for left, _ in lefts), min(right for _, right in lefts)
    if shared[0] < shared[1]:
        # A long one runs beside what stands between.
        x = sum(shared) / 2 if tops[to] - tops[name] == LAYER else shared[1] - 30
        return f'<path class="arrow" d="M{x:g} {start:g} V{end:g}"/>'
    # From the near side of the lower edge to the middle of the other box.
    leftward = lefts[1][0] < lefts[0][0]
    x = lefts[0][0] + 36 if leftward else lefts[0][1] - 36
    middle = sum(lefts[1]) / 2
    half = start + (tops[to] - start) / 2
    turn = -8 if leftward else 8
    return (
        f'<path class="arrow" d="M{x:g} {start:g} V{half - 8:g} q0 8 {turn} 8 '
        f'H{middle - turn:g} q{turn} 0 {turn} 8 V{end:g}"/>'
    )


def _beside(name: str, tops: dict[str, float]) -> list[str]:
    to, column, shift = BESIDE[name]
    folder = ROOT / name
    purpose = (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").rstrip(".")
    left, top = MARGIN + column * (BOX_WIDTH + GAP), tops[to] + shift * LAYER
    width = BOX_WIDTH if shift else BOX_WIDTH - 60
    drawn = [
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{BOX_HEIGHT}" rx="8" '
        'fill="#fff" stroke="#868e96" stroke-dasharray="5 4"/>',
        _text(left + 14, top + 25, f"{name}/", "name"),
    ]
    for number, line in enumerate(textwrap.wrap(purpose, int(width / 6.7))[:2]):
        drawn.append(_text(left + 14, top + 44 + 16 * number, line, "purpose"))
    middle = top + BOX_HEIGHT / 2
    if shift:
        x = left + 30
        drawn.append(f'<path class="data" d="M{x:g} {top + BOX_HEIGHT:g} V{tops[to] - 2:g}"/>')
    else:
        # Read as data, so the arrow starts at the package.
        drawn.append(f'<path class="data" d="M{left - GAP:g} {middle:g} H{left - 2:g}"/>')
    return drawn


STYLE = """
text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #212529; }
.name { font: bold 16px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
.count { font-size: 11.5px; text-anchor: end; fill: #495057; }
.purpose { font-size: 12.5px; }
.folders { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; fill: #495057; }
.implied { font-size: 11px; fill: #868e96; }
.key { font-size: 12.5px; fill: #495057; }
.arrow, .data { fill: none; stroke: #495057; stroke-width: 1.6; marker-end: url(#head); }
.data { stroke-dasharray: 5 4; }
"""
# The head of an arrow.
HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#495057"/></marker></defs>'
)

KEY = (
    "An arrow is an import; none runs up.",
    "“also:” names imports that arrows imply.",
    "Blue asks, violet runs or traces a step,",
    "green says what it means, yellow keeps it.",
    "Dashed: added without touching ffprof/.",
    "Beside them: api above, errors, units, version below.",
)


def picture() -> str:
    """The picture as SVG."""
    known = packages()
    rows = layers(known)
    tops = {name: float(TOP + LAYER * row) for name, row in rows.items()}
    height = TOP + LAYER * max(rows.values()) + WIDE_HEIGHT + MARGIN
    drawn = arrows(known)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The packages of ffprof in layers</title>",
        f"<style>{STYLE}</style>",
        HEAD,
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    parts += [_arrow(name, to, tops) for name, to in drawn]
    for name, one in known.items():
        implied = sorted(one.imports - {to for start, to in drawn if start == name})
        parts += _box(one, tops[name], implied)
    for name in BESIDE:
        parts += _beside(name, tops)
    for number, line in enumerate(KEY):
        parts.append(_text(MARGIN + 4, TOP + LAYER + 30 + 20 * number, line, "key"))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(f"written to {PICTURE.relative_to(ROOT)}")
