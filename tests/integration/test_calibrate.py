"""``ffprof calibrate`` as a user runs it: real processes, a cache of its own."""

import hashlib
import json
import signal
import time
from pathlib import Path

import pytest
from command import TINY, ffprof, only_record, reported, started

from ffprof.records.store import load_any

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "results" / "audit-small-cpu.json"
TWO = ["--workloads", "bp,dtg-ff"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache for this file alone: other tests' audits must not know what is kept here."""
    folder = tmp_path_factory.mktemp("calibrations")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder))
    yield folder / "ffprof"
    patch.undo()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ffprof"


@pytest.fixture(scope="module")
def smoke(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    done = ffprof("calibrate", *TINY, *TWO, "--rounds", "6", "--out", folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("calibration-*.json")
    return done, load_any(path), folder, path


def test_it_measures_and_says_what_can_be_seen(smoke):
    done, made, folder, path = smoke
    audit = only_record(folder)
    assert audit.missing() == []
    assert [row.workload for row in made.noise] == ["bp", "dtg-ff"]
    assert made.rounds == 6
    assert made.recipe == audit.recipe
    assert made.audit.startswith("audit-smoke-cpu-")
    assert made.audit_sha256 == hashlib.sha256((folder / made.audit).read_bytes()).hexdigest()
    assert made.command.startswith("ffprof calibrate")
    assert "Noise of this processor: preset smoke" in done.stdout
    assert f"written to {path}" in done.stderr
    assert "kept for this machine, in" in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Traceback" not in done.stderr


def test_report_prints_it_again(smoke):
    done, _, _, path = smoke
    assert reported(path).strip() == done.stdout.strip()
    found = json.loads(ffprof("report", path, "-f", "json").stdout)
    assert found == json.loads(path.read_text())
    assert ffprof("report", path, "-f", "markdown").stdout.startswith("# Noise of this processor")
    judged = ffprof("report", path, "--judge")
    assert judged.returncode == 2
    assert "a calibration makes no claims" in judged.stderr
    compared = ffprof("compare", path, path)
    assert compared.returncode == 2
    assert "holds a 'calibration', not an audit" in compared.stderr


def test_the_same_rounds_give_the_same_calibration(smoke, empty_cache, tmp_path):
    _, made, folder, _ = smoke
    done = ffprof("calibrate", "--from", folder, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("calibration-smoke-cpu-*.json")
    assert load_any(path).noise == made.noise
    assert "kept for this machine, in" in done.stderr
    assert len(list(empty_cache.iterdir())) == 1


def test_a_run_of_the_same_setting_knows_the_noise(smoke, tmp_path):
    _, made, _, _ = smoke
    words = ["--rounds", "1", "--workloads", "bp,bp-accum", "--out", tmp_path / "one"]
    done = ffprof("run", *TINY, *words, "--full")
    record = only_record(tmp_path / "one")
    assert record.noise == {"bp": made.noise[0].sd}
    (note,) = [n for n in record.notes if "calibration" in n]
    assert note == (
        f"noise of this machine from the calibration of {made.created:%Y-%m-%d %H:%M} UTC; "
        "it does not know bp-accum"
    )
    assert note in " ".join(done.stdout.replace(" -", "").split())


def test_a_baseline_that_is_measured_again_knows_the_noise(smoke, tmp_path):
    _, made, folder, _ = smoke
    (baseline,) = folder.glob("audit-*.json")
    words = ["--rounds", "1", "--out", tmp_path, "--throughput", "off"]
    done = ffprof("check", "--baseline", baseline, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    record = only_record(tmp_path)
    assert record.noise == {row.workload: row.sd for row in made.noise}
    assert any("from the calibration of" in note for note in record.notes)


def test_a_run_of_another_setting_does_not(smoke, tmp_path):
    for name, more in (("steps", ["--steps", "3"]), ("batch", ["--batch", "16"])):
        words = [*TINY, *more, "--rounds", "1", "--workloads", "bp", "--out", tmp_path / name]
        assert ffprof("run", *words).returncode == 0
        record = only_record(tmp_path / name)
        assert record.noise == {}
        assert not any("calibration" in note for note in record.notes)


def test_a_damaged_one_is_a_note_and_no_error(smoke, tmp_path, monkeypatch, cache):
    folder = tmp_path / "cache" / "ffprof"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for file in cache.iterdir():
        (folder / file.name).write_text(file.read_text()[:1000])
    done = ffprof("run", *TINY, "--rounds", "1", "--workloads", "bp", "--out", tmp_path / "a")
    assert done.returncode == 0
    record = only_record(tmp_path / "a")
    assert record.noise == {}
    assert any("is damaged and is ignored" in note for note in record.notes)


def test_of_nine_rounds_eight_are_used(empty_cache, tmp_path):
    done = ffprof("calibrate", "--from", SMALL, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("calibration-small-cpu-*.json")
    made = load_any(path)
    assert made.rounds == 8
    assert len(made.noise) == 23
    assert made.claims == 23
    assert "8 of 9 rounds are used" in done.stdout
    # kept for the machine that it was measured on
    assert len(list(empty_cache.iterdir())) == 1


def test_one_of_another_machine_is_not_said_to_be_of_this_one(empty_cache, tmp_path):
    def elsewhere(document):
        document["machine"]["cpu"] = "a processor that nobody has"

    path = edited(tmp_path, elsewhere)
    done = ffprof("calibrate", "--from", path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "kept for the machine it was measured on, which is another one or has" in done.stderr
    assert "this machine" not in done.stderr
    assert len(list(empty_cache.iterdir())) == 1


def test_what_is_not_replaced_is_told(empty_cache, tmp_path):
    def calibrate(file, *words):
        return ffprof("calibrate", "--from", file, *words, "--out", tmp_path / "out").stderr

    calibrate(SMALL)
    (kept,) = empty_cache.iterdir()
    calibrate(SMALL, "--workloads", "bp,dtg-ff,asge")
    assert len(load_any(kept).noise) == 3
    before = kept.read_bytes()

    def years_older(document):
        document["created"] = document["created"].replace("2026", "2020", 1)

    older = calibrate(edited(tmp_path, years_older))
    assert "not stored: a newer one of this machine and setting" in older
    assert kept.read_bytes() == before


def test_what_a_terminal_would_obey_is_not_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a\x1b[31mb"))
    done = ffprof("calibrate", "--from", SMALL, "--out", tmp_path / "o\x1b[32mut")
    assert done.returncode == 0, done.stderr
    assert "a?[31mb/ffprof" in done.stderr
    assert "\x1b" not in done.stderr


def test_some_rows_of_an_audit_can_be_chosen(empty_cache, tmp_path):
    done = ffprof("calibrate", "--from", SMALL, "--workloads", "bp,dtg-ff,asge", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("calibration-*.json")
    assert {row.workload for row in load_any(path).noise} == {"bp", "dtg-ff", "asge"}


def edited(tmp_path, edit):
    document = json.loads(SMALL.read_text())
    edit(document)
    path = tmp_path / "audit-edited.json"
    path.write_text(json.dumps(document))
    return path


def fail_one(document):
    trial = document["trials"][4]
    trial |= {"outcome": "oom", "throughput": None, "loss": None, "message": "out of memory"}


def keep_three_rounds(document):
    document["trials"] = [t for t in document["trials"] if t["round"] < 3]


@pytest.mark.parametrize(
    ("edit", "code", "problem"),
    [(fail_one, 3, "oom in 1 of 9 trials"), (keep_three_rounds, 3, "has 3 complete rounds")],
)
def test_an_audit_that_will_not_do_is_one_line(empty_cache, tmp_path, edit, code, problem):
    done = ffprof("calibrate", "--from", edited(tmp_path, edit), "--out", tmp_path / "out")
    assert done.returncode == code
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert not empty_cache.exists()


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--rounds", "7"], 2, "not an even number of at least 6"),
        (["--rounds", "4"], 2, "not an even number of at least 6"),
        (["--rounds", "0"], 2, "not an even number"),
        (["--from", "nothing.json"], 2, "there is no result file"),
        (["--from", "."], 2, "there is no result file in ."),
        (["--from", "x" * 300], 2, "cannot read"),
        (
            ["--from", SMALL, "--workload-file", "a.py"],
            2,
            "cannot be combined with --workload-file",
        ),
        (["--from", SMALL, "--rounds", "8"], 2, "--from cannot be combined with --rounds"),
        (["--from", SMALL, "--workloads", "no-such"], 2, "has no workload 'no-such'"),
        (["--from", SMALL, "--workloads", ","], 2, "names no workload"),
        (
            ["--from", ROOT / "results" / "audit-imagenet100-8gb-estimated.json"],
            2,
            "estimated, not measured",
        ),
        (["--workloads", "no-such", "--device", "cpu"], 2, "no-such"),
    ],
)
def test_what_cannot_be_meant_is_one_line(empty_cache, tmp_path, words, code, problem):
    done = ffprof("calibrate", *words, "--out", "out", cwd=tmp_path)
    assert done.returncode == code
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not empty_cache.exists()


def test_an_interrupted_one_keeps_the_audit_and_says_how_to_go_on(empty_cache, tmp_path):
    process = started("calibrate", *TINY, *TWO, "--rounds", 6, "--out", tmp_path / "out", cwd=ROOT)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        files = list((tmp_path / "out").glob("audit-*.json"))
        if files and json.loads(files[0].read_text())["trials"]:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert out == ""
    (audit,) = (tmp_path / "out").glob("audit-*.json")
    assert f"resume with: ffprof run --resume {audit}, then ffprof calibrate --from {audit}" in err
    assert not empty_cache.exists()
    assert ffprof("run", "--resume", audit).returncode == 0
    done = ffprof("calibrate", "--from", audit, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert len(list(empty_cache.iterdir())) == 1


def test_a_limit_that_is_over_is_no_calibration(empty_cache, tmp_path):
    done = ffprof(
        "calibrate", *TINY, *TWO, "--rounds", "100", "--run-limit", "3", "--out", tmp_path
    )
    assert done.returncode == 3
    assert "stopped early: the run's time limit is over" in done.stderr
    assert list(tmp_path.glob("calibration-*.json")) == []
