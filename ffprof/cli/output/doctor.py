"""What children say of this machine, and findings in words, as a script and for programs."""

from __future__ import annotations

import contextlib
import json
import os
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ffprof.hardware.doctor.finding import STATES, Diagnosis, Finding, State
from ffprof.version import __version__

if TYPE_CHECKING:
    from ffprof.hardware.doctor.facts import ChildFacts


def ask_children(wanted: dict[str, str | None]) -> ChildFacts:
    """Start children exactly as an audit does, the last of them to ask torch."""
    from ffprof.hardware.doctor.facts import ChildFacts, TorchFacts
    from ffprof.hardware.doctor.readers.pytorch import ready_child, torch_child
    from ffprof.hardware.environment import environment
    from ffprof.harness.process.calls import ask_child
    from ffprof.harness.process.child import start_context

    laps = [time.monotonic()]
    with environment(wanted), _silent_children():
        context = start_context("forkserver")
        for _ in range(2):
            ready, problem = ask_child(context, ready_child, bool)
            if not ready:
                return ChildFacts(problem=problem)
            laps.append(time.monotonic())
        torch, problem = ask_child(context, torch_child, TorchFacts)
    return ChildFacts(
        torch=torch,
        problem=problem.removeprefix("exit status 1: "),
        server_seconds=laps[1] - laps[0],
        trial_seconds=laps[2] - laps[1],
    )


@contextlib.contextmanager
def _silent_children() -> Iterator[None]:
    """Processes started meanwhile have no error output: what it would say is in the findings."""
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


_STYLES: dict[State, str] = {
    "bad": "bold red",
    "warn": "bold yellow",
    "note": "cyan",
    "ok": "green",
}
_WIDEST = 100  # columns of running text; longer lines are hard to read
_SCRIPT_WIDTH = 88
_OF_THE_SHELL = ("unset ", "export ", "ulimit ")


def print_findings(diagnosis: Diagnosis, console: Console) -> None:
    """Print findings by group, what was not checked, and last one line that sums up."""
    topics = max(len(finding.topic) for finding in diagnosis.findings)
    indent = len("  warn  ") + topics + 2
    width = max(24, min(_WIDEST, console.width - indent - 1))
    group = ""
    for finding in diagnosis.findings:
        if finding.group != group:
            group = finding.group
            console.print(Text(group, style="bold"))
        first, *rest = textwrap.wrap(finding.seen, width, break_on_hyphens=False) or [""]
        line = Text(f"  {finding.state:<4}  ", style=_STYLES[finding.state])
        console.print(line.append(f"{finding.topic:<{topics}}  {first}", style="none"), crop=False)
        for text in (*rest, *_labelled("why", finding.why, width)):
            console.print(Text(" " * indent + text), crop=False)
        for text in _labelled("do", finding.do, width):
            console.print(Text(" " * indent + text, style="bold"), crop=False)
    for reason, names in _by_reason(diagnosis).items():
        text = f"not checked ({reason}): {', '.join(names)}"
        lines = textwrap.wrap(
            text, max(24, console.width - 1), subsequent_indent="  ", break_on_hyphens=False
        )
        console.print(Text("\n".join(lines), style="dim"), crop=False)
    console.print()
    hint = "; ffprof doctor --fix prints commands" if _commands(diagnosis) else ""
    lines = textwrap.wrap(summary(diagnosis) + hint, max(24, console.width - 1))
    console.print(Text("\n".join(lines), style="bold"), crop=False)


def to_script(diagnosis: Diagnosis) -> str:
    """Commands against what was found, as a shell script whose comments say what each is for."""
    lines = ["#!/bin/sh"]
    lines += _comment(f"From ffprof doctor {__version__}: {summary(diagnosis)}.")
    lines += _comment("Nothing has been run. Read it, keep what you agree with, then: sh FILE")
    if any(command.startswith(_OF_THE_SHELL) for command in _commands(diagnosis)):
        lines += _comment("Variables change in your own shell only if it reads the file: . ./FILE")
    for finding in _worst_first(diagnosis):
        lines += ["", *_comment(f"{finding.state}: {finding.topic}: {finding.seen}")]
        lines += _comment(f"why: {finding.why}") + (
            _comment(f"do: {finding.do}") if finding.do else []
        )
        lines += finding.commands
    return "\n".join(lines) + "\n"


def to_json(diagnosis: Diagnosis) -> str:
    """Everything, for programs."""
    document = {
        "ffprof": __version__,
        "summary": {state: diagnosis.count(state) for state in STATES},
        "findings": [
            {"topic": finding.topic, "group": finding.group, **asdict(finding)}
            for finding in diagnosis.findings
        ],
        "not_checked": {one.topic: one.reason for one in diagnosis.not_checked},
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def summary(diagnosis: Diagnosis) -> str:
    """One sentence: how many things are in the way, change figures, or are worth knowing."""
    counts = {state: diagnosis.count(state) for state in STATES}
    if not counts["bad"] and not counts["warn"] and not counts["note"]:
        return "Nothing found that would change your figures"
    parts = []
    if counts["bad"]:
        parts.append(f"{_things(counts['bad'])} in the way of measuring")
    if counts["warn"]:
        parts.append(f"{_things(counts['warn'])} would change your figures")
    if counts["note"]:
        parts.append(f"{counts['note']} note{'s' if counts['note'] > 1 else ''}")
    return ", ".join(parts)


def _things(count: int) -> str:
    return "1 thing" if count == 1 else f"{count} things"


def _commands(diagnosis: Diagnosis) -> list[str]:
    return [command for finding in diagnosis.findings for command in finding.commands]


def _worst_first(diagnosis: Diagnosis) -> list[Finding]:
    found = [finding for finding in diagnosis.findings if finding.state != "ok"]
    return sorted(found, key=lambda finding: STATES.index(finding.state))


def _by_reason(diagnosis: Diagnosis) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for one in diagnosis.not_checked:
        reasons.setdefault(one.reason, []).append(one.topic)
    return reasons


def _labelled(label: str, text: str, width: int) -> list[str]:
    head = f"{label + ':':<5}"
    indent = " " * len(head)
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=indent)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _SCRIPT_WIDTH,
        initial_indent="# ",
        subsequent_indent="#   ",
        break_on_hyphens=False,
    )
