"""All rules in the order of the report, and the facts that they judge."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ffprof.hardware.doctor.facts import ChildFacts, Facts, NullDeviceFacts
from ffprof.hardware.doctor.finding import Diagnosis, Finding, Judgement, NotChecked, Unknown, plain
from ffprof.hardware.doctor.readers.activity import between, look
from ffprof.hardware.doctor.readers.host import read_host, read_output
from ffprof.hardware.doctor.readers.nvml import read_nvml
from ffprof.hardware.doctor.readers.software import read_software
from ffprof.hardware.doctor.rules import driver, gpu, memory, processor, software, variables

Rule = Callable[[Facts], Judgement | Unknown]

GROUPS: dict[str, Mapping[str, Rule]] = {
    "Software": software.RULES,
    "GPU": {**driver.RULES, **gpu.RULES},
    "Memory": memory.RULES,
    "Processor": processor.RULES,
    "Variables": variables.RULES,
}


def topics() -> list[str]:
    """Every topic, in the order of the report."""
    return [topic for rules in GROUPS.values() for topic in rules]


def diagnose(facts: Facts) -> Diagnosis:
    """Judge everything."""
    findings, not_checked = [], []
    for group, rules in GROUPS.items():
        for topic, rule in rules.items():
            judged = rule(facts)
            if isinstance(judged, Unknown):
                not_checked.append(NotChecked(topic=topic, reason=plain(judged.reason)))
            else:
                findings.append(
                    Finding(
                        group=group,
                        topic=topic,
                        state=judged.state,
                        seen=plain(judged.seen),
                        why=plain(judged.why),
                        do=plain(judged.do),
                        commands=tuple(plain(command) for command in judged.commands),
                    )
                )
    return Diagnosis(findings=tuple(findings), not_checked=tuple(not_checked))


def collect(
    asked: str,
    folder: Path,
    ask_children: Callable[[], ChildFacts],
    overridden: frozenset[str],
    root: Path = Path("/"),
    try_null_device: Callable[[], NullDeviceFacts | None] = lambda: None,
) -> Facts:
    """Read every fact of this machine.

    Args:
        asked: ``--device``.
        folder: where results would go.
        ask_children: starts children as an audit does; takes most of the time.
        overridden: names of variables that ffprof sets or removes for trials.
        root: where /proc, /sys and /dev are.
        try_null_device: builds it if need be, and runs a step on it.
    """
    environment = dict(os.environ)
    first = look(root)
    child = ask_children()
    second = look(root)
    return Facts(
        asked=asked,
        software=read_software(),
        child=child,
        null_device=None if asked == "cpu" else try_null_device(),
        # Read when the children have ended, so that none of them is seen on the GPU.
        nvml=read_nvml(),
        host=read_host(root),
        activity=between(first, second, os.getpid()),
        output=read_output(folder),
        environment=environment,
        overridden=overridden,
    )
