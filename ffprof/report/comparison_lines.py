"""What is said below the table of a comparison, line by line."""

from __future__ import annotations

from collections import Counter

from ffprof.analysis.comparison import ComparedRow, Comparison, CountChange, smallest_visible
from ffprof.analysis.summary import Spread
from ffprof.report import sections
from ffprof.units import format_bytes, format_ratio

_TOLD = 5  # operators that are named


def bytes_of(spread: Spread | None) -> str:
    """The middle of a figure in bytes, for people."""
    return "-" if spread is None else format_bytes(int(spread.median))


def problems(found: Comparison) -> list[str]:
    """What must be known before a figure is quoted."""
    lines = []
    for row in found.rows:
        for when, one in (("before", row.before), ("after", row.after)):
            lines += [f"{row.workload}, {when}: {mark}" for mark in one.marks]
            if one.outcome != "ok":
                told = f"{row.workload}, {when}: {one.told_outcomes()}"
                lines.append("; ".join([told, *one.messages]))
        if row.memory and row.memory.finding == "does not repeat":
            lines.append(
                f"{row.workload}: peaks do not repeat, {_range(row.memory.before)} before and "
                f"{_range(row.memory.after)} after"
            )
    because = {row.relative.because for row in found.rows if row.relative and row.relative.because}
    if found.after.evidence != "estimated":
        lines += [f"no verdict on speed: {text}" for text in sorted(because)]
    for when, which in (("before", 0), ("after", 1)):
        rows = [(row.before, row.after)[which] for row in found.rows]
        lines += [f"{when}, {line}" for line in sections.noise(rows)]
    return lines


def _range(spread: Spread) -> str:
    if spread.low == spread.high:
        return format_bytes(int(spread.low))
    return f"{spread.low:,.0f} to {spread.high:,.0f} B"


def _counts(found: Comparison) -> str:
    """Everything in one line, the unchanged too."""
    memory = Counter(row.memory.finding if row.memory else "not known" for row in found.rows)
    speed = Counter(row.relative.finding if row.relative else "not known" for row in found.rows)
    told = [
        f"{what}: {', '.join(f'{count} {finding}' for finding, count in counts.most_common())}"
        for what, counts in (("memory", memory), ("relative speed", speed))
    ]
    rows = len(found.rows)
    return f"of {rows} workload{'' if rows == 1 else 's'}, {'; '.join(told)}"


def changes(found: Comparison) -> tuple[str, ...]:
    """Everything counted, each change by itself, and what noise hides."""
    return (_counts(found), *_files(found), *_of_rows(found), *_outlook(found))


def _outlook(found: Comparison) -> list[str]:
    """What more rounds would see, where something is undecided."""
    open_ = [row for row in found.rows if row.relative and row.relative.finding == "inconclusive"]
    if not open_:
        return []
    seen = smallest_visible(found.after, [row.workload for row in found.rows])
    if not seen:
        return ["noise hides what changed in inconclusive rows (ffprof calibrate measures it)"]
    told = ", ".join(f"{rounds} rounds {share:.0%}" for rounds, share in seen.items())
    return [
        "losses of speed that would be found in 19 of 20 cases, in the median row, by the noise "
        f"after: {told}"
    ]


def _of_rows(found: Comparison) -> list[str]:
    lines = []
    for row in found.rows:
        for name, change in (("memory", row.memory), ("reserved", row.reserved)):
            if change is None or change.finding not in ("lower", "higher"):
                continue
            more = int(change.after.median - change.before.median)
            apart = f"{'+' if more > 0 else '-'}{format_bytes(abs(more))}"
            lines.append(
                f"{row.workload}: {name} is {change.finding}, {bytes_of(change.before)} before and "
                f"{bytes_of(change.after)} after ({apart})"
            )
        lines += [_count_line(row.workload, change) for change in row.flops]
        if row.operators:
            lines.append(_operators_line(row))
        speed = row.relative
        if speed and speed.finding in ("faster", "slower"):
            lines.append(
                f"{row.workload}: {speed.finding}, at {format_ratio(speed.ratio)} its speed "
                f"relative to {speed.reference} ({speed.low:.3f} to {speed.high:.3f})"
            )
    return lines


def _count_line(workload: str, change: CountChange) -> str:
    what = change.name.replace("_flops", " FLOPs")
    return f"{workload}: {what} {change.before:,} before and {change.after:,} after"


def _operators_line(row: ComparedRow) -> str:
    named = [f"{change.name} {change.more:+,}" for change in row.operators[:_TOLD]]
    more = len(row.operators) - len(named)
    rest = f" and {more} more" if more else ""
    return f"{row.workload}: operators of a step differ: {', '.join(named)}{rest}"


def _files(found: Comparison) -> list[str]:
    """Workload files of the user's own that are other ones now."""
    before = {file.path: file for file in found.before.plan.files}
    return [
        f"{file.path} changed: sha256 {before[file.path].sha256[:12]} before, "
        f"{file.sha256[:12]} after"
        for file in found.after.plan.files
        if file.path in before and before[file.path].sha256 != file.sha256
    ]


def in_one_only(found: Comparison) -> list[str]:
    """Workloads without a counterpart."""
    lines = []
    for when, names in (("before", found.only_before), ("after", found.only_after)):
        if names:
            lines.append(f"{when}: {', '.join(names)}")
    return lines
