"""``ffprof compare`` through the real command line, on records written for it."""

import json

import pytest
from command import ffprof
from records import MIB, record, trial

from ffprof.records.store import save

ROWS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta")


def audit(path, *, rounds=9, slow=(), factor=1.0, memory=None, rows=ROWS, seed=0, **changes):
    """A record of rows whose processes differ by about 1 %, on a machine of some speed."""
    import numpy as np

    rng = np.random.default_rng(seed)
    trials = [
        trial(
            name, r,
            speed=factor * (100 + 10 * at) * np.exp(rng.normal(0, 0.01)) * dict(slow).get(name, 1),
            memory=(memory or {}).get(name, (50 + at) * MIB),
        )
        for r in range(rounds)
        for at, name in enumerate(rows)
    ]  # fmt: skip
    made = record(trials, **{"judged": False} | changes)
    save(made, path)
    return path


@pytest.fixture
def before(tmp_path):
    return audit(tmp_path / "before.json")


def compared(*words):
    done = ffprof("compare", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found, {row["workload"]: row for row in found["workloads"]}


def test_a_slower_machine_changes_nothing(before, tmp_path):
    after = audit(tmp_path / "after.json", factor=0.6, seed=1)
    _, rows = compared(before, after)
    assert {row["relative_speed"]["finding"] for row in rows.values()} == {"same"}
    assert all(row["images_per_second"]["ratio"] < 0.7 for row in rows.values())
    assert {row["memory"]["finding"] for row in rows.values()} == {"same"}


def test_one_slower_row_is_found_and_named(before, tmp_path):
    after = audit(tmp_path / "after.json", slow={"gamma": 0.85}.items(), factor=1.3, seed=2)
    _, rows = compared(before, after)
    findings = {name: row["relative_speed"]["finding"] for name, row in rows.items()}
    assert findings.pop("gamma") == "slower"
    assert set(findings.values()) == {"same"}
    told = ffprof("compare", before, after).stdout
    assert "gamma: slower, at 0.8" in told
    assert "relative speed: 6 same, 1 slower" in told


def test_noise_known_from_a_calibration_is_a_lower_bound(before, tmp_path):
    from ffprof import load

    path = audit(tmp_path / "after.json", slow={"gamma": 0.85}.items(), seed=2)
    save(load(path).model_copy(update={"noise": {"gamma": 0.3}}), path)
    _, rows = compared(before, path)
    assert rows["gamma"]["relative_speed"]["finding"] == "inconclusive"


def test_memory_is_exact(before, tmp_path):
    after = audit(tmp_path / "after.json", memory={"beta": 51 * MIB + 1})
    _, rows = compared(before, after)
    assert rows["beta"]["memory"]["finding"] == "higher"
    assert rows["alpha"]["memory"]["finding"] == "same"
    told = ffprof("compare", before, after).stdout
    assert "beta: memory is higher, 51.0 MiB before and 51.0 MiB after (+1 B)" in told
    assert "1.0000x" in told


def test_what_is_in_one_file_only_is_listed(before, tmp_path):
    after = audit(tmp_path / "after.json", rows=("beta", "gamma", "theta"))
    found, rows = compared(before, after)
    assert set(rows) == {"beta", "gamma"}
    assert "alpha" in found["only_before"]
    assert found["only_after"] == ["theta"]
    told = ffprof("compare", before, after).stdout
    assert " - after: theta" in told


def test_recipes_that_differ_are_refused_by_field(before, tmp_path):
    after = audit(tmp_path / "after.json", batch=16, micro_batch=8)
    done = ffprof("compare", before, after)
    assert done.returncode == 2
    assert "batch is 8 and 16; micro_batch is 4 and 8" in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_claims_or_another_name_are_no_other_recipe(before, tmp_path):
    after = audit(tmp_path / "after.json", preset="renamed")
    assert ffprof("compare", before, after).returncode == 0


def test_evidence_is_not_mixed(before, tmp_path):
    made = record(
        [trial("alpha", 0, evidence="measured", device="cuda")], evidence="measured", judged=False
    )
    save(made, tmp_path / "after.json")
    done = ffprof("compare", before, tmp_path / "after.json")
    assert done.returncode == 2
    assert "one record is measured (cpu) and the other measured" in done.stderr


def test_machines_that_differ_are_told(before, tmp_path):
    from ffprof import load

    path = audit(tmp_path / "after.json")
    made = load(path)
    machine = made.machine.model_copy(update={"cpu": "Another", "versions": {"torch": "3.0"}})
    save(made.model_copy(update={"machine": machine}), path)
    done = ffprof("compare", before, path)
    assert done.returncode == 0
    assert "Machines differ" in done.stdout
    assert "cpu is Another and was A CPU" in done.stdout
    assert "torch is 3.0 and was 2.14.1" in done.stdout


def test_few_rounds_give_ratios_only(before, tmp_path):
    after = audit(tmp_path / "after.json", rounds=3)
    _, rows = compared(before, after)
    assert {row["relative_speed"]["finding"] for row in rows.values()} == {"ratio only"}
    assert "there are fewer than 5 rounds" in ffprof("compare", before, after).stdout


def test_a_row_that_failed_is_told_with_both_outcomes(before, tmp_path):
    trials = [trial(name, r) for r in range(5) for name in ("alpha", "beta")]
    trials += [trial("gamma", r, outcome="oom") for r in range(5)]
    save(record(trials, judged=False), tmp_path / "after.json")
    done = ffprof("compare", before, tmp_path / "after.json")
    assert "ok -> oom" in done.stdout
    assert "gamma, after: 5 of 5 oom" in done.stdout


def test_two_workloads_of_one_file(tmp_path):
    path = audit(tmp_path / "one.json", slow={"beta": 0.5}.items())
    done = ffprof("compare", path, "beta", "alpha")
    assert done.returncode == 0, done.stderr
    assert "the throughput claim is not supported" in done.stdout
    assert "gamma" not in done.stdout
    verdicts = json.loads(ffprof("compare", path, "beta", "alpha", "-f", "json").stdout)["verdicts"]
    assert [v["finding"] for v in verdicts] == ["same", "slower"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["beta"], "name another one"),
        (["beta", "beta"], "beta is given twice"),
        (["beta", "nobody"], "there is no workload 'nobody'"),
        ([], "or two of its workloads: alpha, beta"),
        (["no-such-file"], "there is no result file no-such-file"),
        (["beta", "--reference", "alpha"], "a speed is relative to the median of all rows"),
    ],
)
def test_what_cannot_be_meant(before, words, told):
    done = ffprof("compare", before, *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_order_of_files_and_workloads(before, tmp_path):
    done = ffprof("compare", "beta", "alpha", before)
    assert (done.returncode, "the file comes first" in done.stderr) == (2, True)
    done = ffprof("compare", before, before, "alpha")
    assert (done.returncode, "is given in addition to two files" in done.stderr) == (2, True)


@pytest.mark.parametrize(("slow", "finding"), [("alpha", "inconclusive"), ("beta", "slower")])
def test_of_two_rows_a_loss_of_the_first_is_no_gain_of_the_second(tmp_path, slow, finding):
    old = audit(tmp_path / "old.json", rows=("alpha", "beta"))
    new = audit(tmp_path / "new.json", rows=("alpha", "beta"), slow={slow: 0.5}.items(), seed=1)
    _, rows = compared(old, new)
    assert rows["beta"]["relative_speed"]["finding"] == finding


def test_what_a_step_computes_and_whose_file_it_was(before, tmp_path):
    from ffprof import load
    from ffprof.records.audit import LedgerRow, WorkloadFile

    def counted(name, operators, flops, digest):
        path = audit(tmp_path / name)
        made = load(path)
        file = WorkloadFile(path="mine.py", sha256=digest * 64, workloads=("beta",))
        row = LedgerRow(facts={"useful_flops": flops}, operators=operators)
        plan = made.plan.model_copy(update={"files": (file,)})
        save(made.model_copy(update={"plan": plan, "ledger": {"beta": row}}), path)
        return path

    old = counted("old.json", {"aten::mm": 3}, 1000, "a")
    new = counted("new.json", {"aten::mm": 3, "aten::mul": 6}, 1200, "b")
    _, rows = compared(old, new)
    assert rows["beta"]["operators_differ"] == [{"name": "aten::mul", "before": 0, "after": 6}]
    told = ffprof("compare", old, new).stdout
    assert "beta: useful FLOPs 1,000 before and 1,200 after" in told
    assert "beta: operators of a step differ: aten::mul +6" in told
    assert "mine.py changed: sha256 aaaaaaaaaaaa before, bbbbbbbbbbbb after" in told


def test_noise_that_hides_is_told_with_what_more_rounds_would_see(tmp_path):
    import numpy as np

    rng = np.random.default_rng(5)
    trials = [
        trial(name, r, speed=100 * np.exp(rng.normal(0, 0.2))) for r in range(5) for name in ROWS
    ]
    made = record(trials, judged=False)
    save(made, tmp_path / "noisy.json")
    save(made.model_copy(update={"notes": ("another run",)}), tmp_path / "again.json")
    told = ffprof("compare", tmp_path / "noisy.json", tmp_path / "again.json").stdout
    assert "by the noise after: 5 rounds" in " ".join(told.split())
    assert "after, rounds differ by more than 20%" in told


def test_markdown_and_width(before, tmp_path):
    after = audit(tmp_path / "after.json", slow={"gamma": 0.8}.items())
    text = ffprof("compare", before, after, "-f", "markdown").stdout
    assert text.startswith("# Comparison: preset test, measured")
    assert "| workload |" in text
    table = ffprof("compare", before, after).stdout
    assert all(len(line.rstrip()) <= 80 for line in table.splitlines() if "before:" not in line)
