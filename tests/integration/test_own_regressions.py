"""The project's own gate: it passes what is unchanged, and catches regressions made on purpose."""

import json
import os
from importlib.metadata import version

import pytest
from changed import ROOT, changed_workloads
from command import TINY, ffprof, only_record

from ffprof import load

BASELINES = ROOT / "results" / "baselines"
TORCH = version("torch").split("+")[0]
HERE = BASELINES / f"torch-{TORCH}"
ESTIMATED = HERE / "audit-imagenet100-8gb-estimated.json"
LIVE = HERE / "audit-smoke-cpu.json"

needs_baseline = pytest.mark.skipif(
    not HERE.is_dir(), reason=f"no baseline for torch {TORCH}: make baselines"
)
# Every unit's output is kept until the end of the step, as if to look at it later.
KEEPS = (
    "dtg_ff.py",
    """            g, a = self.local(unit, patches, x)
            losses.append(""",
    """            g, a = self.local(unit, patches, x)
            self.kept = [*(self.kept if losses else []), a.clone()]
            losses.append(""",
)
KEPT = {"dtg-ff", "dtg-ff-accum"}
# Eight times a step of preset smoke, in the rows on the plain backbone only.
SLEEPS = (
    "bp.py",
    """        loss = F.cross_entropy(self(images), labels)
""",
    """        __import__("time").sleep(0.1 if self._through is _plain else 0)
        loss = F.cross_entropy(self(images), labels)
""",
)


@pytest.mark.parametrize("path", sorted(BASELINES.glob("*/*.json")), ids=lambda p: p.stem)
def test_baselines_are_of_the_version_they_are_kept_under(path):
    record = load(path)
    assert path.parent.name == f"torch-{record.machine.versions['torch']}"
    assert not record.missing()
    assert {trial.outcome for trial in record.trials} <= {"ok", "oom"}
    assert all(row.operators and row.facts["useful_flops"] for row in record.ledger.values())
    assert record.recipe.threads == 1  # as many as every machine has
    assert path.stat().st_size < 300_000
