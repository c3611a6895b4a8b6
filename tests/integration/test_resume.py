"""An interrupted audit is gone on with, exactly as it was begun, or refused in one line."""

import fcntl
import json
import signal
import time

import pytest
from command import TINY, ffprof, only_record, reported, started, without_gpu

from ffprof import load
from ffprof.analysis.verdicts import judge
from ffprof.records.files import lock_path

WORDS = [*TINY, "--workloads", "bp,dtg-ff-accum", "--rounds", "2"]


def begin_and_interrupt(folder):
    """Starts an audit and sends Ctrl-C when its first trial is stored."""
    process = started("run", *WORDS, "--out", folder)
    deadline = time.monotonic() + 200
    # Gradient proofs are stored before the first trial is. Each save is a file in one step.
    while not any(load(file).trials for file in folder.glob("audit-*.json")):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    return process.returncode, err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = ffprof("run", *WORDS, "--out", folder)
    assert done.returncode == 0, done.stderr
    return only_record(folder), folder


@pytest.fixture
def cut_off(whole, tmp_path):
    """A copy of the whole record without its last two trials, with a field changed."""
    _, folder = whole
    (source,) = folder.glob("audit-*.json")

    def write(**changes):
        document = json.loads(source.read_text())
        document["trials"] = document["trials"][:2]
        for part, values in changes.items():
            document[part] = document[part] | values if isinstance(values, dict) else values
        path = tmp_path / "audit-cut.json"
        path.write_text(json.dumps(document))
        return path

    return write


def refused(done, *said, code=2):
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ffprof: error: ")
    for words in said:
        assert words in line


def test_an_interrupted_audit_goes_on_where_it_stopped(whole, tmp_path):
    expected, _ = whole
    folder = tmp_path / "my audits"
    code, err = begin_and_interrupt(folder)
    assert code == 130, err
    (path,) = folder.iterdir()
    assert f"resume with: ffprof run --resume '{path}'" in err.splitlines()
    begun = load(path)
    assert 0 < len(begun.trials) < 4
    done = ffprof("run", "--resume", folder, "--full")
    assert done.returncode == 0, done.stderr
    record = only_record(folder)
    assert list(folder.iterdir()) == [path]
    assert record.trials[: len(begun.trials)] == begun.trials
    assert [t.id for t in record.trials] == [t.id for t in expected.trials]
    assert [t.loss.first for t in record.trials] == [t.loss.first for t in expected.trials]
    assert [t.memory.live_tensor_peak_bytes for t in record.trials] == [
        t.memory.live_tensor_peak_bytes for t in expected.trials
    ]
    assert {t.outcome for t in record.trials} == {"ok"}
    assert record.missing() == []
    assert record.verdicts == judge(record)
    assert record.ledger == expected.ledger
    assert (record.command, record.created) == (begun.command, begun.created)
    assert record.recipe_hash == begun.recipe_hash
    told = [note for note in record.notes if note.startswith("resumed ")]
    assert len(told) == 1
    assert f"with {len(begun.trials)} of 4 trials done" in told[0]
    assert told[0] in " ".join(done.stdout.split())


def test_a_whole_record_is_reported_and_not_touched(whole):
    _, folder = whole
    (path,) = folder.iterdir()
    before = path.read_bytes()
    done = ffprof("run", "--resume", path, "--time-limit", 300)
    assert done.returncode == 0
    assert done.stderr == f"nothing is missing in {path}\n"
    assert done.stdout == reported(path)
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]


def test_rounds_can_be_added_and_missing_proofs_are_made(whole, cut_off):
    expected, _ = whole
    ledger = json.loads(expected.model_dump_json())["ledger"]
    ledger["dtg-ff-accum"]["gradient"] = None
    path = cut_off(ledger=ledger)
    lock_path(path).write_text("")  # as a killed audit leaves it behind
    done = ffprof("run", "--resume", path, "--rounds", 3, "--time-limit", 300)
    assert done.returncode == 0, done.stderr
    record = load(path)
    assert (len(record.trials), record.plan.rounds) == (6, 3)
    assert [t.id for t in record.trials[:4]] == [t.id for t in expected.trials]
    assert record.plan.trial_limit_seconds == 300
    assert record.ledger == expected.ledger
    assert "rounds raised from 2 to 3" in " ".join(record.notes)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_newest_unfinished_record_of_a_folder_is_taken(whole, cut_off):
    import os
    import shutil

    _, folder = whole
    path = cut_off()
    (source,) = folder.iterdir()
    shutil.copy(source, path.with_name("audit-whole.json"))
    path.with_name("audit-damaged.json").write_text("{")
    os.utime(path, (1, 1))
    refused(ffprof("run", "--resume", path.parent, "--rounds", 1), str(path), "--rounds 1")


RECORDED = {
    "steps": "2", "preset": "smoke", "device": "cpu", "out": "elsewhere", "workloads": "core",
    "gpu-mem": "8XB", "seed": "0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        *[
            ([f"--{option}", value], [f"--{option} cannot be given with --resume", "leave it out"])
            for option, value in RECORDED.items()
        ],
        (["--rounds", "1"], ["--rounds 1 is fewer", "(2)"]),
    ],
)
def test_what_the_record_says_is_not_asked_again(words, said, cut_off):
    path = cut_off()
    before = path.read_bytes()
    refused(ffprof("run", "--resume", path, *words), *said)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_another_machine_torch_or_code_is_named(whole, cut_off):
    expected, _ = whole
    versions = {**expected.machine.versions, "torch": "1.0"}
    path = cut_off(machine={"cpu": "A CPU", "versions": versions, "commit": "0" * 12})
    before = path.read_bytes()
    refused(
        ffprof("run", "--resume", path),
        *("cannot be resumed here", "and was A CPU", "torch is", "and was 1.0"),
        *("commit of the measuring code", "continue on its machine"),
    )
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_audit_of_a_gpu_needs_one(cut_off, whole):
    expected, _ = whole
    trials = [json.loads(t.model_dump_json()) for t in expected.trials[:2]]
    trials = [t | {"evidence": "measured", "device": "cuda"} for t in trials]
    path = cut_off(evidence="measured")
    document = json.loads(path.read_text()) | {"trials": trials}
    path.write_text(json.dumps(document))
    refused(ffprof("run", "--resume", path, env=without_gpu()), "started on CUDA", code=3)


def test_a_file_that_is_being_written_is_left_alone(cut_off):
    path = cut_off()
    before = path.read_bytes()
    with lock_path(path).open("w") as side:
        fcntl.flock(side, fcntl.LOCK_EX)
        refused(ffprof("run", "--resume", path), "another audit is writing", "wait")
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 99}'])
def test_a_damaged_file_is_one_line(text, tmp_path):
    path = tmp_path / "audit-x.json"
    path.write_text(text)
    refused(ffprof("run", "--resume", path), str(path))
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_to_resume(tmp_path):
    refused(ffprof("run", "--resume", tmp_path), "no result file")
    refused(ffprof("run", "--resume", tmp_path / "none.json"), "no result file")
