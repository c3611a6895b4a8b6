"""A baseline is measured or estimated again, in real processes, with the code as it is now."""

import shutil
import signal
import sys
import time

import pytest
from command import TINY, by_workload, ffprof, only_record, python, started

from ffprof import load

AGAIN = """
import signal, sys
from pathlib import Path
from ffprof import load
from ffprof.experiments.check.rerun import run_again
from ffprof.cli.interrupts import raise_terminated, interrupt_code
from ffprof.cli.output.progress import progress_for
from ffprof.errors import FfprofError
from rich.console import Console

signal.signal(signal.SIGTERM, raise_terminated)
path, out, rounds, files = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
try:
    made = run_again(
        load(path), Path(path), Path(out) if out else None, rounds=rounds or None,
        workload_files=tuple(map(Path, files)), progress=progress_for(Console(stderr=True)),
        say=lambda text: print(text, file=sys.stderr),
    )
except FfprofError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
except KeyboardInterrupt as error:
    sys.exit(interrupt_code(error))
print(made.model_dump_json())
"""
NET = """
import torch
from torch import nn
from ffprof import register_step

@register_step(id="mine", images=8)
def build(device):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)).to(device)
    data = torch.ones(8, 64, device=device)
    def step():
        net.zero_grad()
        loss = net(data).sum()
        loss.backward()
        return loss
    return step
"""


def words(path, out, rounds, files):
    return [sys.executable, "-c", AGAIN, str(path), str(out), str(rounds), *map(str, files)]


def again(path, out="", rounds=0, files=(), cwd=None):
    """The ended process, and the record that it was given."""
    done = python(AGAIN, path, out, rounds, *files, cwd=cwd)
    if done.returncode:
        return done, None
    return done, load_text(done.stdout)


def load_text(text):
    from ffprof.records.audit import Record

    return Record.model_validate_json(text)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with the baseline of two registered rows and one of a file, made there."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "net.py").write_text(NET.replace("WIDTH", "32"))
    done = ffprof(
        "run", *TINY, "--rounds", 2, "--workloads", "bp,bp-accum,mine", "--workload-file",
        "net.py", "--time-limit", 100, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, only_record(folder / "audits"), next((folder / "audits").glob("audit-*.json"))


def peaks(record):
    return by_workload(record, lambda trial: trial.memory.live_tensor_peak_bytes)


def test_the_same_code_gives_the_same(measured, tmp_path):
    folder, before, path = measured
    done, after = again(path, tmp_path / "new", rounds=1, cwd=folder)
    assert after, done.stderr
    assert (after.recipe, after.recipe_hash) == (before.recipe, before.recipe_hash)
    assert after.plan == before.plan.model_copy(update={"rounds": 1})
    assert (after.budget, after.evidence) == (before.budget, before.evidence)
    assert peaks(after) == peaks(before)
    assert {n: row.operators for n, row in after.ledger.items()} == {
        n: row.operators for n, row in before.ledger.items()
    }
    assert all(row.operators for row in after.ledger.values())
    assert after.notes[0].startswith(f"repeats {path.name} of ")
    (written,) = (tmp_path / "new").glob("audit-smoke-cpu-*.json")
    assert load(written) == after
    assert f"written to {written}" in done.stderr
    assert not any("host memory" in note for note in after.notes)


def test_a_changed_file_is_read_as_it_is_and_nothing_is_kept_unless_asked(measured, tmp_path):
    _, before, path = measured
    other = tmp_path / "net.py"
    other.write_text(NET.replace("WIDTH", "4096"))
    done, after = again(path, rounds=1, files=[other], cwd=tmp_path)
    assert after, done.stderr
    assert min(peaks(after)["mine"]) > max(peaks(before)["mine"])
    assert peaks(after)["bp"] == peaks(before)["bp"]
    assert after.plan.files[0].sha256 != before.plan.files[0].sha256
    assert "written" not in done.stderr
    assert [found.name for found in tmp_path.iterdir()] == ["net.py"]


def test_without_the_file_it_says_where_it_was(measured, tmp_path):
    _, _, path = measured
    done, _ = again(path, cwd=tmp_path)
    assert done.returncode == 2
    assert "net.py" in done.stderr
    assert "--workload-file" in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_that_left_the_file_are_gone(measured, tmp_path):
    _, _, path = measured
    renamed = tmp_path / "net.py"
    renamed.write_text(NET.replace("WIDTH", "32").replace('"mine"', '"other"'))
    done, _ = again(path, files=[renamed], cwd=tmp_path)
    assert done.returncode == 2
    assert "has none of the rows" in done.stderr


def test_an_estimate_is_the_same_to_the_byte(tmp_path):
    done = ffprof(
        "run", "--preset", "smoke", "--device", "estimate", "--workloads", "bp,bp-ckpt",
        "--threads", 1, "--out", tmp_path / "old",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before = only_record(tmp_path / "old")
    (path,) = (tmp_path / "old").glob("*.json")
    done, after = again(path, tmp_path / "new", rounds=3)
    assert after, done.stderr
    assert after.plan == before.plan
    assert after.budget == before.budget
    assert after.ledger == before.ledger
    assert [(t.workload, t.memory, t.throughput) for t in after.trials] == [
        (t.workload, t.memory, t.throughput) for t in before.trials
    ]


def test_an_estimate_may_name_more_threads_than_there_are(tmp_path):
    done = ffprof(
        "run", "--preset", "smoke", "--device", "estimate", "--workloads", "bp", "--threads", 1,
        "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before = only_record(tmp_path)
    recipe = before.recipe.model_copy(update={"threads": 64})
    changed = before.model_copy(update={"recipe": recipe, "recipe_hash": recipe.digest()})
    path = tmp_path / "larger.json"
    path.write_text(changed.model_dump_json())
    done = ffprof("check", "--baseline", path, "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_was_measured_with_more_threads_says_so(measured, tmp_path):
    _, before, _ = measured
    recipe = before.recipe.model_copy(update={"threads": 4096})
    plan = before.plan.model_copy(update={"files": (), "workloads": ("bp",)})
    changed = before.model_copy(
        update={
            "recipe": recipe, "recipe_hash": recipe.digest(), "plan": plan, "noise": {},
            "trials": tuple(t for t in before.trials if t.workload == "bp"), "verdicts": (),
            "ledger": {"bp": before.ledger["bp"]},
        }
    )  # fmt: skip
    path = tmp_path / "larger.json"
    path.write_text(changed.model_dump_json())
    done = ffprof("check", "--baseline", path)
    assert done.returncode == 2
    assert "was measured with 4096 threads, and this machine has" in done.stderr
    assert "make a baseline here, or use an estimated one" in done.stderr
    assert "--threads" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_was_measured_on_a_gpu_needs_one(measured, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    _, before, _ = measured
    plan = before.plan.model_copy(update={"files": (), "workloads": ("bp",)})
    changed = before.model_copy(update={"evidence": "measured", "trials": (), "plan": plan})
    path = tmp_path / "gpu.json"
    path.write_text(changed.model_dump_json())
    done = ffprof("check", "--baseline", path)
    assert done.returncode == 3
    assert "estimated baseline" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_check_names_what_a_changed_file_costs_and_can_take_it_as_the_baseline(
    measured, tmp_path
):
    _, before, path = measured
    mine = tmp_path / "base.json"
    shutil.copy(path, mine)
    (tmp_path / "net.py").write_text(NET.replace("WIDTH", "4096"))
    words = ("check", "--baseline", mine, "--rounds", 1, "--time-limit", 90)
    words = (*words, "--workload-file", "net.py", "--out", tmp_path / "new")
    done = ffprof(*words, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "mine" in done.stdout
    told = " ".join(done.stdout.split())
    for option in ("--rounds 1", "--time-limit 90.0", "--workload-file net.py"):
        assert option in told.partition("accept it with: ")[2]
    assert "--out" not in told
    made = only_record(tmp_path / "new")
    assert min(peaks(made)["mine"]) > max(peaks(before)["mine"])
    assert load(mine) == before

    done = ffprof("check", "--baseline", mine, "--rounds", 1, "--update-baseline", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert peaks(load(mine)) == peaks(made)
    assert load(mine).plan.files[0].sha256 != before.plan.files[0].sha256


def test_what_is_for_measuring_again_contradicts_a_result(measured):
    _, _, path = measured
    done = ffprof("check", "--baseline", path, "--current", path, "--rounds", 2)
    assert (done.returncode, "--rounds" in done.stderr) == (2, True)
    assert ffprof("check", "--baseline", path, "--current", path).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_one_keeps_what_it_has(measured, tmp_path, number, code):
    folder, _, path = measured
    copied = tmp_path / "base.json"
    shutil.copy(path, copied)
    out = tmp_path / "new"
    words = ("check", "--baseline", copied, "--rounds", "9", "--out", out)
    process = started(*words, cwd=folder)
    deadline = time.monotonic() + 240
    while not any(load(file).trials for file in out.glob("audit-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=150)
    assert process.returncode == code, err
    kept = only_record(out)
    assert kept.trials
    assert kept.missing()
    assert "stopped early: interrupted" in err
    assert "ffprof run --resume" in err
