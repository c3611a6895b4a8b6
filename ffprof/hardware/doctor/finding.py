"""What a check says: a judgement with its reason and its remedy, or why it could not be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ffprof.errors import harmless

# bad: nothing can be measured until it is put right. warn: it changes figures. note: worth knowing.
State = Literal["ok", "note", "warn", "bad"]
STATES: tuple[State, ...] = ("bad", "warn", "note", "ok")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a rule makes of the facts: what was seen, why it matters, and what to do about it."""

    state: State
    seen: str
    why: str = ""
    do: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The rule has nothing to judge, and why."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Finding(Judgement):
    """A judgement with its place in the report."""

    group: str
    topic: str


@dataclass(frozen=True, kw_only=True)
class NotChecked(Unknown):
    """A topic that could not be judged."""

    topic: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All findings in the order of topics, and the topics that could not be judged."""

    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]

    def count(self, state: State) -> int:
        """How many findings have this state."""
        return sum(finding.state == state for finding in self.findings)


def plain(text: str) -> str:
    """One line that a terminal or a shell comment can hold, whatever the text came from."""
    return harmless(text)


def ok(seen: str) -> Judgement:
    """Nothing to do."""
    return Judgement(state="ok", seen=seen)


def note(seen: str, why: str, do: str = "", *commands: str) -> Judgement:
    """Worth knowing; figures stay what they say they are."""
    return Judgement(state="note", seen=seen, why=why, do=do, commands=commands)


def warn(seen: str, why: str, do: str, *commands: str) -> Judgement:
    """Figures would be others than without it."""
    return Judgement(state="warn", seen=seen, why=why, do=do, commands=commands)


def bad(seen: str, why: str, do: str, *commands: str) -> Judgement:
    """Nothing can be measured."""
    return Judgement(state="bad", seen=seen, why=why, do=do, commands=commands)


def unknown(reason: str) -> Unknown:
    """Cannot be judged."""
    return Unknown(reason=reason)
