"""A check as a JSON document, as Markdown, and as annotations of a GitHub workflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ffprof.analysis.gates.result import (
    FINDINGS,
    BaselineCheck,
    GateResult,
    Status,
    counts,
    exit_code,
    finding_of,
)
from ffprof.errors import UnmeasuredError, harmless
from ffprof.records.audit import Record
from ffprof.report.check import by_status, checked_document, counted, is_told
from ffprof.report.exporters.json import safe_json
from ffprof.report.exporters.markdown import render
from ffprof.version import __version__

JSON_VERSION = 1
_LEVELS: dict[Status, str] = {
    "regressed": "error",
    "inconclusive": "warning",
    "not measured": "error",  # most often a crash; either way the build fails
    "improved": "notice",
    "advice": "notice",
}
# GitHub shows ten annotations of a kind for a step, and drops the others without a word.
_SHOWN = 9
_SUMMARY_BYTES = 900_000  # a job's summary may have 1 MiB


def checks_json(checks: Sequence[BaselineCheck]) -> str:
    """All checks as one document (docs/checking.md)."""
    results = [found.result for found in checks]
    code = code_of(checks)
    gates = [gate for result in results for gate in result.gates]
    document = {
        "schema_version": JSON_VERSION,
        "kind": "check",
        "ffprof": __version__,
        "exit_code": code,
        "finding": _finding(checks),
        "counts": counts(gates),
        "checks": [
            {
                "finding": found.finding,
                "baseline": _side(found.baseline_file, found.baseline),
                "current": _side(found.current_file, found.current),
                "updated": found.updated,
                "refused": str(found.refused) if found.refused else None,
                "new_workloads": list(found.result.new),
                "notes": list(found.result.notes),
                "alarms": list(found.result.alarms),
            }
            for found in checks
        ],
        "gates": [
            _gate(number, gate)
            for number, found in enumerate(checks)
            for gate in by_status(found.result)
        ],
    }
    return safe_json(json.dumps(document, indent=1))


def code_of(checks: Sequence[BaselineCheck]) -> int:
    """The exit code; a baseline that was written has no more to object, one that was not has."""
    if any(found.refused for found in checks):
        return UnmeasuredError.exit_code
    if all(found.updated for found in checks):
        return 0
    return exit_code([found.result for found in checks if found.baseline is not None])


def _finding(checks: Sequence[BaselineCheck]) -> str:
    code, held = code_of(checks), [c.result for c in checks if c.baseline is not None]
    return finding_of(held) if code == exit_code(held) else FINDINGS[code]


def checks_markdown(checks: Sequence[BaselineCheck], *, everything: bool = False) -> str:
    """All checks as Markdown; ends in a newline."""
    text = "\n".join(render(checked_document(found, everything=everything)) for found in checks)
    return text.replace("@", "@&#8203;")  # nobody is called by what a file holds


def github_lines(checks: Sequence[BaselineCheck]) -> list[str]:
    """The commands of a workflow that annotate a job."""
    gates = [gate for found in checks for gate in by_status(found.result) if _is_annotated(gate)]
    lines = []
    for level in ("error", "warning", "notice"):
        mine = [gate for gate in gates if _LEVELS[gate.status] == level]
        shown = mine if len(mine) <= _SHOWN else mine[: _SHOWN - 1]
        lines += [_command(level, _title(gate), gate.sentence) for gate in shown]
        if len(mine) > len(shown):
            more = f"{len(mine) - len(shown)} more are in the job's summary"
            lines.append(_command(level, "ffprof check", more))
    total = [gate for found in checks for gate in found.result.gates]
    lines.append(_command("notice", f"ffprof check: {_finding(checks)}", counted(total)))
    return lines


def github_summary(checks: Sequence[BaselineCheck]) -> str:
    """What the job's summary gets: the Markdown, as much of it as GitHub takes."""
    text = checks_markdown(checks)
    data = text.encode("utf-8")
    if len(data) <= _SUMMARY_BYTES:
        return text
    kept = data[:_SUMMARY_BYTES].decode("utf-8", "ignore").rpartition("\n")[0]
    return f"{kept}\n\nThis is not all of it: ffprof check --format markdown prints the rest.\n"


def _title(gate: GateResult) -> str:
    return f"ffprof check: {gate.metric.replace('_', ' ')} {gate.status}"


def _is_annotated(gate: GateResult) -> bool:
    """Not what may as well be noise: speeds of so few rounds that they have no interval."""
    noise = gate.status == "advice" and gate.unit == "ratio" and gate.interval is None
    return is_told(gate) and not noise


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    """As the runner's own toolkit escapes what stands after the second pair of colons."""
    return harmless(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _side(path: str, record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "file": path or None,
        "created": record.created.isoformat(),
        "evidence": record.evidence,
        "preset": record.recipe.preset,
        "recipe_hash": record.recipe_hash,
        "torch": record.machine.versions.get("torch"),
        "ffprof": record.ffprof,
        "commit": record.machine.commit,
        "rounds": record.plan.rounds,
    }


def _gate(number: int, gate: GateResult) -> dict[str, Any]:
    return {
        "check": number,
        "workload": gate.workload,
        "metric": gate.metric,
        "status": gate.status,
        "unit": gate.unit or None,
        "baseline": gate.baseline,
        "current": gate.current,
        "limit": gate.limit,
        "ratio": gate.ratio,
        "interval": gate.interval,
        "sentence": gate.sentence,
    }
