"""A copy of the package ``workloads`` with lines changed, as a commit would change it."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def changed_workloads(folder: Path, *changes: tuple[str, str, str]) -> dict[str, str]:
    """The environment under which ffprof sees it; for commands that are run elsewhere than in ROOT.

    Changes are (module, before, after); ``before`` stands once in the module.
    """
    copied = folder / "workloads"
    shutil.copytree(ROOT / "workloads", copied, ignore=shutil.ignore_patterns("__pycache__"))
    for module, before, after in changes:
        path = copied / module
        text = path.read_text()
        assert text.count(before) == 1, (module, before)
        path.write_text(text.replace(before, after))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
