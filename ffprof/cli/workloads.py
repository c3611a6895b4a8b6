"""``ffprof workloads``: what can be run, without importing torch."""

from __future__ import annotations

from typing import Literal

from ffprof.cli.common_options import FORMAT


def workloads(format: Literal["table", "json"] = FORMAT) -> None:
    """List the registered workloads and presets."""
    from ffprof.experiments.selection import all_workloads
    from ffprof.workload import find_preset, preset_names

    found, broken = all_workloads()
    presets = [find_preset(name) for name in preset_names()]
    if format == "json":
        from ffprof.cli.output.console import print_json

        listed = {
            "workloads": [
                {"id": d.id, "family": d.family, "core": d.core, "summary": d.summary}
                for d in found
            ],
            "presets": [
                {"id": p.name, "default_for": p.default_for, "summary": p.summary} for p in presets
            ],
            "not_usable": [str(error) for error in broken],
        }
        print_json(listed)
        return
    from rich.table import Table

    from ffprof.report.exporters.terminal import OutputConsole

    console = OutputConsole()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("workload", "family", "core", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    for one in found:
        table.add_row(one.id, one.family, "yes" if one.core else "", one.summary)
    console.print(table)
    for error in broken:
        console.print(f"not usable: {error}", style="red")
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("preset", "default on", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    for preset in presets:
        table.add_row(preset.name, (preset.default_for or "").upper(), preset.summary)
    console.print(table)
