"""The report of a frontier: the best of each method, all points, and what it took."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ffprof.analysis.summary import MEMORY_MEANING
from ffprof.records.frontier import FrontierRecord
from ffprof.report.document import budget_line, estimated_budget_line
from ffprof.report.fitting import clean, fitted, flowed
from ffprof.report.frontier_problems import problems
from ffprof.report.frontier_rows import Block, method_blocks, summary_block
from ffprof.report.markdown import escape
from ffprof.units import format_seconds


@dataclass(frozen=True, kw_only=True)
class FrontierDocument:
    """What a report says, before it is decided how it looks."""

    title: str
    setting: tuple[str, ...]
    blocks: tuple[Block, ...]
    caption: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]


def make_frontier(record: FrontierRecord) -> FrontierDocument:
    """The report of a frontier's record."""
    return FrontierDocument(
        title=f"Frontier: preset {clean(record.recipe.preset)}, {record.evidence}",
        setting=tuple(map(clean, (*_setting(record), cost_line(record)))),
        blocks=(summary_block(record), *method_blocks(record)),
        caption=_caption(record),
        sections=tuple(
            (heading, tuple(map(clean, lines)))
            for heading, lines in (("Problems", problems(record)), ("Notes", record.notes))
            if lines
        ),
    )


def print_frontier(record: FrontierRecord, console: Console) -> None:
    """Print a frontier's report on a terminal."""
    console.print(_rendered(make_frontier(record), console.width), crop=False)


def frontier_markdown(record: FrontierRecord) -> str:
    """The report as Markdown; ends in a newline."""
    made = make_frontier(record)
    lines = [f"# {escape(made.title)}", "", *(f"- {escape(line)}" for line in made.setting)]
    for block in made.blocks:
        lines += ["", f"## {escape(block.heading)}", ""]
        names = [escape(column.name) for column in block.columns]
        rule = ["---:" if column.numeric else ":---" for column in block.columns]
        cells = [[escape(cell) for cell in row] for row in block.rows]
        lines += [f"| {' | '.join(line)} |" for line in (names, rule, *cells)]
        lines += ["", *(f"- {escape(line)}" for line in block.lines)] if block.lines else []
    lines += ["", escape(made.caption)]
    for heading, told in made.sections:
        lines += ["", f"## {heading}", "", *(f"- {escape(line)}" for line in told)]
    return "\n".join(lines) + "\n"


def cost_line(record: FrontierRecord) -> str:
    """What measuring took, and what measuring everything would have taken."""
    count = len(record.points)
    guessing = record.guess_seconds or 0.0
    if record.evidence == "estimated":
        return f"{count} points estimated in {format_seconds(guessing)}"
    measured = sum(bool(p.trials) for p in record.points)
    told = f"measured {measured} of {count} points"
    if record.spent_seconds is None or record.all_seconds is None:
        return told
    spent = record.spent_seconds + guessing
    times = "once" if record.rounds == 1 else f"{record.rounds} times"
    told += f" in {format_seconds(spent)}, {format_seconds(guessing)} of it for estimates"
    if record.stopped:
        return f"{told}, until it was stopped"
    told += (
        f"; all of them, each {times}, would have taken about {format_seconds(record.all_seconds)}"
    )
    if guessing > record.spent_seconds:
        return f"{told}: estimates took longer than trials, and pay where trials are long"
    return f"{told} ({spent / max(record.all_seconds, 1e-9):.0%})"


def _setting(record: FrontierRecord) -> tuple[str, ...]:
    recipe, machine, budget = record.recipe, record.machine, record.budget
    where = f"{machine.gpu or machine.cpu}, {recipe.threads or 'default'} CPU threads, "
    held: tuple[str, ...] = ()
    if record.evidence == "estimated":
        where = "nothing was run: traced with "
        held = (estimated_budget_line(budget),)
    elif budget.total_bytes is not None:
        held = (budget_line(budget, record.evidence),)
    fixed = [f"effective batch {recipe.batch}"]
    if len({p.precision for p in record.points}) == 1:
        fixed.append(record.points[0].precision)
    if len({p.memory_format for p in record.points}) == 1:
        fixed.append(record.points[0].memory_format.replace("_", " "))
    commit = f", commit {machine.commit}" if machine.commit else ""
    return (
        f"{recipe.backbone} at width {recipe.width:g}, {recipe.norm} norm, {recipe.data} images "
        f"{recipe.channels}x{recipe.image_size}x{recipe.image_size}, {recipe.classes} classes",
        f"{', '.join(fixed)}, {recipe.optimizer.name}, seed {recipe.seed}",
        f"{where}torch {machine.versions.get('torch', '?')}{commit}",
        *held,
    )


def _caption(record: FrontierRecord) -> str:
    device = "cpu" if record.evidence == "measured (cpu)" else "cuda"
    parts = [
        f"memory: {MEMORY_MEANING[device]}",
        "frontier: no point of the method needs less and is as fast",
    ]
    if record.evidence == "estimated":
        parts.append("reserved: without a limit, so it may exceed the budget that it fits")
        return "; ".join([*parts, "img/s: by a roofline", "all figures estimated"])
    parts += [
        "img/s: median over trials",
        "~: not measured, an estimate scaled by measured points",
        f"figures without ~ are {record.evidence}",
    ]
    return "; ".join(parts)


def _rendered(document: FrontierDocument, width: int) -> RenderableType:
    parts: list[RenderableType] = [Text(document.title, style="bold")]
    parts += [flowed(line, width, style="dim") for line in document.setting]
    for block in document.blocks:
        parts += [Text(), Text(block.heading, style="bold")]
        parts.append(fitted(block.columns, block.rows, width))
        parts += [flowed(f" - {line}", width, hang="   ") for line in block.lines]
    parts += [Text(), flowed(document.caption, width, style="dim")]
    for heading, lines in document.sections:
        parts += [Text(), Text(heading, style="bold")]
        parts += [flowed(f" - {line}", width, hang="   ") for line in lines]
    return Group(*parts)
