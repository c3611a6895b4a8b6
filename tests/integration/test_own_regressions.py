"""The project's own gate: it passes what is unchanged, and catches regressions made on purpose."""

import json
from importlib.metadata import version

import pytest
from changed import ROOT, changed_workloads
from command import TINY, ffprof, many_commands, only_record

from ffprof import load
from ffprof.analysis.gates.thresholds import read_thresholds
from ffprof.records.store import save

BASELINES = ROOT / "results" / "baselines"
TORCH = version("torch").split("+")[0]
HERE = BASELINES / f"torch-{TORCH}"
ESTIMATED = HERE / "audit-imagenet100-8gb-estimated.json"
LIVE = HERE / "audit-smoke-cpu.json"
THRESHOLDS = BASELINES / "thresholds.toml"
FEW = ("bp", "bp-ckpt", "bp-offload", "dtg-ff", "dtg-ff-streamed")
# As make check does it; throughput is advice anyway, of one round.
EXACT = ("--thresholds", THRESHOLDS, "--throughput", "advice")

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
# One operator in the step of a single row, and its backward; no figure of the result changes.
MULTIPLIES = (
    "bp.py",
    """        loss = F.cross_entropy(self(images), labels)
""",
    """        loss = F.cross_entropy(self(images), labels)
        loss = loss * 1.0 if type(self) is Offloaded else loss
""",
)
# Eight times a step of preset smoke, in the rows on the plain backbone only, which FEW has not.
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


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The baselines with some of their rows, because each takes a second; `make check` has all."""
    folder = tmp_path_factory.mktemp("few")
    for path in (ESTIMATED, LIVE):
        record = load(path)
        kept = {"ledger": {name: record.ledger[name] for name in FEW}, "verdicts": ()}
        kept["trials"] = tuple(t for t in record.trials if t.workload in FEW)
        kept["plan"] = record.plan.model_copy(update={"workloads": FEW})
        save(record.model_copy(update=kept), folder / path.name)
    return folder


def gates(done):
    """{status: {(workload, metric)}} of a check that printed JSON, over all baselines."""
    found = {}
    for gate in json.loads(done.stdout)["gates"]:
        found.setdefault(gate["status"], set()).add((gate["workload"], gate["metric"]))
    return found


@needs_baseline
@pytest.mark.slow
def test_what_is_unchanged_passes_and_speed_is_advice(few):
    done = ffprof("check", "--baseline", few, *EXACT, "--format", "json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    found = gates(done)
    assert found.keys() == {"passed", "advice"}
    assert {metric for _, metric in found["advice"]} == {"throughput", "absolute_throughput"}
    metrics = {metric for _, metric in found["passed"]}
    assert metrics >= {"allocated", "reserved", "live", "useful_flops", "operators", "outcome"}


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    """The environment in which all the changes are made, of which each is in rows of its own."""
    site = tmp_path_factory.mktemp("changes") / "site"
    with many_commands(changed_workloads(site, KEEPS, MULTIPLIES, SLEEPS)) as env:
        yield env


@pytest.fixture(scope="module", params=[ESTIMATED, LIVE], ids=lambda path: path.stem)
def changed(request, few, changes, tmp_path_factory):
    """A baseline, its gates after KEEPS and MULTIPLIES, and the record that was made for them."""
    folder, path = tmp_path_factory.mktemp("changed"), few / request.param.name
    words = ("check", "--baseline", path, *EXACT, "--format", "json", "--out", folder / "new")
    done = ffprof(*words, env=changes, cwd=folder)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr
    (made,) = (folder / "new").glob("audit-*.json")
    assert {name for name, _ in gates(done)["regressed"]} == {"dtg-ff", "bp-offload"}
    return path, done, made


@needs_baseline
@pytest.mark.slow
def test_an_extra_saved_activation_is_caught(changed):
    path, done, _ = changed
    metric = "allocated" if path.name == ESTIMATED.name else "live"
    regressed = gates(done)["regressed"]
    assert {("dtg-ff", metric), ("dtg-ff", "operators")} <= regressed
    assert not {name for name, _ in regressed} & {"bp", "bp-ckpt", "dtg-ff-streamed"}
    told = [gate["sentence"] for gate in json.loads(done.stdout)["gates"]]
    assert any(one.startswith("dtg-ff: ") and " rose from " in one for one in told)


@needs_baseline
@pytest.mark.slow
def test_one_operator_more_in_one_row_is_caught_by_this_gate_only(changed):
    path, done, made = changed
    assert ("bp-offload", "operators") in gates(done)["regressed"]
    (row,) = [
        gate
        for gate in json.loads(done.stdout)["gates"]
        if (gate["workload"], gate["metric"]) == ("bp-offload", "operators")
    ]
    assert row["limit"] == row["baseline"] < row["current"] <= row["baseline"] + 2
    usual = ffprof("check", "--baseline", path, "--format", "json", "--current", made)
    assert "bp-offload" not in {name for name, _ in gates(usual).get("regressed", ())}


def test_make_and_these_tests_use_the_same_thresholds():
    """And they allow nothing of what repeats exactly."""
    made = (ROOT / "Makefile").read_text()
    assert f"THRESHOLDS = {THRESHOLDS.relative_to(ROOT)}\n" in made
    assert "--thresholds $(THRESHOLDS)" in made
    found = read_thresholds(THRESHOLDS)
    rules = (found.allocated, found.reserved, found.live, found.flops, found.operators)
    assert all(rule.gate and rule.allowed(10**12) == 0 for rule in rules)
    assert not found.workloads


@pytest.mark.slow
def test_a_sleep_in_a_step_is_caught_by_ratios(changes, tmp_path):
    rows = "bp,bp-accum,bp-plain"
    done = ffprof("run", *TINY, "--workloads", rows, "--rounds", 5, "--out", tmp_path / "old")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "old").glob("audit-*.json")
    words = ("check", "--baseline", path, "--format", "json")

    done = ffprof(*words)
    assert done.returncode in (0, 4), done.stdout[-3000:] + done.stderr
    assert "regressed" not in gates(done)

    kept = tmp_path / "new"
    done = ffprof(*words, "--out", kept, env=changes, cwd=tmp_path)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr
    assert gates(done)["regressed"] == {("bp-plain", "throughput")}

    (made,) = kept.glob("audit-*.json")
    assert only_record(kept).plan == load(path).plan
    again = ffprof("check", "--baseline", path, "--current", made, "--format", "json")
    assert again.returncode == 1
    assert gates(again) == gates(done)
