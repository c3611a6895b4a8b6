"""What else the processors do: two looks at /proc, with our own processes left out."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ffprof.hardware.doctor.facts import ActivityFacts, Program
from ffprof.hardware.doctor.readers.host import parse_int, read_text

_SHOWN = 0.02  # of a processor; programs below it are not listed
# Fields after the name in /proc/PID/stat, counted from the state; proc(5).
_PARENT, _USER, _SYSTEM, _STARTED = 1, 11, 12, 19


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process at one moment; ``ticks`` is its processor time so far."""

    name: str
    parent: int
    started: int
    ticks: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """All processes at one moment, the processors' total and stolen ticks, and the load."""

    seconds: float
    processes: dict[int, Process]
    total_ticks: int | None
    steal_ticks: int | None
    load: float | None


def parse_stat(text: str) -> Process | None:
    """A line of /proc/PID/stat; the name stands in brackets and may hold anything."""
    head, bracket, rest = text.rpartition(")")
    fields = rest.split()
    if not bracket or len(fields) <= _STARTED:
        return None
    numbers = [parse_int(fields[i]) for i in (_PARENT, _STARTED, _USER, _SYSTEM)]
    parent, started, user, system = numbers
    if parent is None or started is None or user is None or system is None:
        return None
    return Process(name=head.partition("(")[2], parent=parent, started=started, ticks=user + system)


def parse_cpu_ticks(text: str) -> tuple[int, int] | None:
    """All ticks and stolen ones of the first line of /proc/stat; guest time is in user time."""
    words = (text.splitlines() or [""])[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    numbers = [parse_int(word) for word in words[1:9]]
    known = [number for number in numbers if number is not None]
    return (sum(known), known[7]) if len(known) == 8 else None


def look(root: Path = Path("/")) -> Look:
    """Look once."""
    processes = {}
    for folder in (root / "proc").glob("[0-9]*"):
        pid = parse_int(folder.name)
        found = parse_stat(read_text(folder / "stat") or "")
        if found is not None and pid is not None:
            processes[pid] = found
    ticks = parse_cpu_ticks(read_text(root / "proc/stat") or "")
    words = (read_text(root / "proc/loadavg") or "").split()
    return Look(
        seconds=time.monotonic(),
        processes=processes,
        total_ticks=ticks[0] if ticks else None,
        steal_ticks=ticks[1] if ticks else None,
        load=_number(words[0]) if words else None,
    )


def between(first: Look, second: Look, own: int, ticks_per_second: int = 0) -> ActivityFacts:
    """What others did between two looks; ``own`` and what it started are left out."""
    rate = ticks_per_second or os.sysconf("SC_CLK_TCK")
    passed = second.seconds - first.seconds
    busy = []
    for pid, after in second.processes.items():
        before = first.processes.get(pid)
        if _belongs(second.processes, pid, own) or passed <= 0:
            continue
        begun = before.ticks if before and before.started == after.started else 0
        cores = (after.ticks - begun) / rate / passed
        if cores >= _SHOWN:
            busy.append(Program(name=after.name, pid=pid, cores=cores))
    steal = None
    if None not in (first.total_ticks, second.total_ticks, first.steal_ticks, second.steal_ticks):
        total = (second.total_ticks or 0) - (first.total_ticks or 0)
        steal = ((second.steal_ticks or 0) - (first.steal_ticks or 0)) / total if total > 0 else 0.0
    return ActivityFacts(
        busy=tuple(sorted(busy, key=lambda p: -p.cores)) if second.processes else None,
        load=first.load,
        steal=steal,
    )


def _belongs(processes: dict[int, Process], pid: int, own: int) -> bool:
    for _ in range(len(processes)):
        if pid == own:
            return True
        if pid not in processes:
            return False
        pid = processes[pid].parent
    return False


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
