"""What the Tab key offers for values that are names; never imports torch."""

from __future__ import annotations


def complete_workloads(incomplete: str) -> list[str]:
    """Ids after the last comma, and before any of them also core and all."""
    from ffprof.workload import workload_names

    before, comma, last = incomplete.rpartition(",")
    names = workload_names() if comma else ["core", "all", *workload_names()]
    taken = before.split(",")
    found = [name for name in names if name.startswith(last) and name not in taken]
    return [f"{before}{comma}{name}" for name in found]


def complete_presets(incomplete: str) -> list[str]:
    """Names of presets."""
    from ffprof.workload import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_cards(incomplete: str) -> list[str]:
    """Names of cards without their maker's word and without blanks, in the case that is typed."""
    from ffprof.hardware.cards import known_cards

    words = [card.name.removeprefix("GeForce ").replace(" ", "") for card in known_cards()]
    if incomplete.islower():
        words = [word.lower() for word in words]
    return [word for word in words if word.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """Names of data sets."""
    from ffprof.harness.data.catalogue import DATA

    return [name for name in DATA if name.startswith(incomplete)]
