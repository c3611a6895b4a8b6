"""``ffprof.run`` and the rest, from a plain script in a process of its own; and docs/api.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import python

ROOT = Path(__file__).resolve().parents[2]

# No guard for the main module, as in a notebook.
SCRIPT = """
import sys
import ffprof

record = ffprof.run(
    ["bp", "bp-accum"], preset="smoke", device="cpu", steps=2, threads=1, rounds=1, out="kept"
)
assert "torch" not in sys.modules
assert [one.outcome for one in record.trials] == ["ok", "ok"]
assert record.plan.rounds == 1 and record.recipe.steps == 2
assert record.command.startswith("ffprof.run(workloads=['bp', 'bp-accum'], preset='smoke'")
assert ffprof.load("kept") == record
assert ffprof.compare("kept", record).json["workloads"]
checked = ffprof.check("kept", record)
assert checked.passed, str(checked)
print(record)
"""


def in_process(code, folder):
    (folder / "script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_a_script_runs_loads_compares_and_checks(tmp_path):
    done = in_process(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "Systems audit: preset smoke, measured (cpu)"
    assert [line.split()[0] for line in lines[1:]] == ["workload", "bp", "bp-accum"]
    assert sorted(p.suffix for p in (tmp_path / "kept").iterdir()) == [".json"]


@pytest.mark.slow
def test_the_page_is_true(tmp_path):
    """Its Python, one block after the other; what is measured is measured again by the check."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.S)
    assert len(blocks) == 4
    kept = "from ffprof.records.store import save\nfrom pathlib import Path\n"
    kept += "baseline = Path('baseline.json'); save(record, baseline)\n"
    done = python("\n".join([blocks[0], kept, *blocks[1:], "assert not worse"]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("unknown workload 'bpp'; did you mean bp or bp-")
    assert [p.name for p in tmp_path.iterdir()] == ["baseline.json"]
