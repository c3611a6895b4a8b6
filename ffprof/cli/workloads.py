"""``ffprof workloads``: what can be run, without importing torch."""

from __future__ import annotations


def workloads() -> None:
    """List the registered workloads and presets."""
    from rich.table import Table

    from ffprof.experiments.selection import all_workloads
    from ffprof.report.exporters.terminal import OutputConsole
    from ffprof.workload import find_preset, preset_names

    console = OutputConsole()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("workload", "family", "core", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    found, broken = all_workloads()
    for one in found:
        table.add_row(one.id, one.family, "yes" if one.core else "", one.summary)
    console.print(table)
    for error in broken:
        console.print(f"not usable: {error}", style="red", markup=False)
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("preset", "default on", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    for preset in (find_preset(name) for name in preset_names()):
        table.add_row(preset.name, (preset.default_for or "").upper(), preset.summary)
    console.print(table)
