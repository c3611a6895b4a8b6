"""Draws docs/audit.svg: the table of a recorded audit, as a terminal shows it.

python docs/draw_audit.py
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

import ffprof
from ffprof.report.audit import make_document
from ffprof.report.exporters.terminal import render

ROOT = Path(__file__).resolve().parents[1]
AUDIT = ROOT / "results" / "audit-imagenet100-8gb-estimated.json"
PICTURE = ROOT / "docs" / "audit.svg"
COLUMNS = 80

# Rich's own frame of a window, with fonts of the reader's machine instead of fetched ones.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
  <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def picture() -> str:
    """The table as SVG; what stands below it is left out."""
    document = make_document(ffprof.load(AUDIT))
    document = replace(document, blocks=tuple(block for block in document.blocks if block.rows))
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False,
        color_system="truecolor", legacy_windows=False,
    )  # fmt: skip
    console.print(render(document, COLUMNS), crop=False)
    return console.export_svg(
        title="ffprof run --device estimate --workloads all",
        code_format=FRAME,
        unique_id="audit",
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(f"written to {PICTURE.relative_to(ROOT)}")
