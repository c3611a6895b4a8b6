"""The answer of ``ffprof verify``: what a file was held against, and how to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ffprof.analysis.contradictions import Check
from ffprof.report.document import Block, Column, Document, printable

_COLUMNS = (
    Column(name="check", numeric=False),
    Column(name="status", numeric=False),
)
_STATUS = {True: "passed", False: "failed", None: "not checked"}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A file, its checks, the command that makes it again, and what to know about that."""

    file: str
    checks: tuple[Check, ...]
    command: str
    made_with: str
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing in the file contradicts it."""
        return all(check.holds is not False for check in self.checks)


def verification_document(found: Verification) -> Document:
    """The checks as a table, with a line each on what was found."""
    holds = "it agrees with itself" if found.holds else "IT CONTRADICTS ITSELF"
    lines = tuple(f"{check.name}: {line}" for check in found.checks for line in check.lines)
    return printable(
        Document(
            title=f"Verification of {found.file}: {holds}",
            setting=(),
            blocks=(
                Block(
                    columns=_COLUMNS,
                    rows=tuple((check.name, _STATUS[check.holds]) for check in found.checks),
                ),
                Block(heading="What was found", lines=lines),
                reproduction_block(found.command, found.made_with, found.notes),
            ),
        )
    )


def verification_json(found: Verification) -> dict[str, Any]:
    """The same as data."""
    return {
        "schema_version": 1,
        "kind": "verification",
        "file": found.file,
        "holds": found.holds,
        "checks": [
            {"check": one.name, "status": _STATUS[one.holds], "lines": list(one.lines)}
            for one in found.checks
        ],
        "command": found.command,
        "made_with": found.made_with,
        "notes": list(found.notes),
    }


def reproduction_block(command: str, made_with: str, notes: Sequence[str]) -> Block:
    """How to make a result again."""
    return Block(
        heading="To make it again",
        text=(made_with,),
        lines=tuple(notes),
        command=command,
        detail=True,
    )
