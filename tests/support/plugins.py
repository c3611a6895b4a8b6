"""Installs the hostile workloads into a folder, as pip would."""

import os
from pathlib import Path

import hostile_workloads


def install_hostile(folder: Path) -> dict[str, str]:
    """The environment under which ffprof sees them, and where they write down their processes."""
    info = folder / "hostile_workloads-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-workloads\nVersion: 1.0\n")
    names = [*hostile_workloads.BUILDERS, "refuses", "own-backbone", "bad-check"]
    lines = [f"{n} = hostile_workloads:{n.replace('-', '_').upper()}" for n in names]
    lines += ["alias = hostile_workloads:CRASH", "raises = hostile_broken:THING"]
    lines += ["broken = no_such_module:THING", "wrong-type = hostile_workloads:BUILDERS"]
    (info / "entry_points.txt").write_text("[ffprof.workloads]\n" + "\n".join(lines) + "\n")
    (folder / "hostile_broken.py").write_text("raise RuntimeError('at import')\n")
    support = Path(__file__).parent
    return {
        **os.environ,
        "PYTHONPATH": f"{folder}{os.pathsep}{support}",
        "HOSTILE_PIDS": str(folder / "pids"),
    }
