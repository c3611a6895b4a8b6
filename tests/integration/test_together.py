"""Workload files and data from files, with audits that are planned, cut off and gone on with."""

import dataclasses
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pictures
import pytest
from command import TINY, ffprof, many_commands, only_record, reported

from ffprof import load
from ffprof.errors import DataError, UsageError
from ffprof.experiments.audit import provenance
from ffprof.experiments.selection import read_sources
from ffprof.harness.data.archive import find_archive
from ffprof.units import format_bytes
from ffprof.workload.user_file import describe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your_own_method.md").read_text()
FILES = dict(re.findall(r"`([\w-]+\.py)`[^`\n]*:\n\n```python\n(.*?)```", PAGE, re.S))
# It leaves a trace of every process that loads it, and imports what lies beside it.
TRACE = """
import os
import beside
with open(os.environ.get("LOADED_BY", "LOADED"), "a") as file:
    file.write(f"{os.getpid()} {os.getppid()}\\n")
"""
FILE_WORDS = ["--workload-file", "half.py", "--workload-file", "mine.py"]
WORDS = [
    *TINY, *FILE_WORDS, "--workloads", "bp,half,half-accum,mine", "--rounds", "1",
    "--data-workers", "1",
]  # fmt: skip


def files_in(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "loaded"
    }


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """A dry run and then a run of the same options, in a folder with files and data."""
    home = tmp_path_factory.mktemp("home")
    for name, content in FILES.items():
        (home / name).write_text(content + TRACE.replace('LOADED"', f'{home / "loaded"}"'))
    (home / "beside.py").write_text("")
    pictures.image_folder(home / "images", each=12)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    words = [*WORDS, "--data", f"imagefolder:{home / 'images'}"]
    before = files_in(home)
    with many_commands(env):
        dry = ffprof("run", *words, "--dry-run", cwd=home, env=env)
        assert dry.returncode == 0, dry.stderr
        assert files_in(home) == before
        done = ffprof("run", *words, cwd=home, env=env)
        assert done.returncode == 0, done.stderr
        record = only_record(home / "audits")
        assert {t.outcome for t in record.trials} == {"ok"}, [t.message for t in record.trials]
        yield SimpleNamespace(home=home, env=env, words=words, dry=dry, record=record)


@pytest.fixture
def cut_off(audit, tmp_path):
    """A copy of all of it, whose record lacks its last trials."""

    def write(kept=2):
        shutil.copytree(audit.home, tmp_path / "home", dirs_exist_ok=True)
        (path,) = (tmp_path / "home" / "audits").glob("audit-*.json")
        document = json.loads(path.read_text())
        document["trials"] = document["trials"][:kept]
        document["recipe"]["data_root"] = str(tmp_path / "home" / "images")
        path.write_text(json.dumps(document))
        return path

    return write


def resume(path, *words, audit, cwd=None):
    cwd = path.parents[1] if cwd is None else cwd
    return ffprof("run", "--resume", path, *words, cwd=cwd, env=audit.env)


def refused(done, *said):
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ffprof: error: ")
    for words in said:
        assert words in line, line


# Plans.


def test_the_plan_is_of_the_files_and_the_data(audit):
    said = " ".join(audit.dry.stdout.split())
    for file in audit.record.plan.files:
        told = f"workload file {file.path}, sha256 {file.sha256[:12]}: {', '.join(file.workloads)}"
        assert told in said
    recipe = audit.record.recipe
    assert f"data: imagefolder in {recipe.data_root}" in said.replace("- ", "")
    assert f"fingerprint {recipe.data_fingerprint[:12]}" in said
    assert "loading is in them as far as it is known: as long as that step waited" in said


def test_the_memory_of_a_file_s_workload_is_then_measured_to_the_byte(audit):
    rows = {line.split()[0]: line for line in audit.dry.stdout.splitlines() if line.strip()}
    for trial in audit.record.trials:
        if trial.workload != "mine":
            assert format_bytes(trial.memory.live_tensor_peak_bytes) in rows[trial.workload]


def test_a_step_of_the_user_s_own_is_not_forecast(audit):
    said = " ".join(audit.dry.stdout.split())
    assert "mine: memory and time not forecast: what a user-defined step does" in said
    assert "in all, without mine" in said


def test_the_parent_never_loads_a_file(audit):
    lines = (audit.home / "loaded").read_text().splitlines()
    children, parents = (set(numbers) for numbers in zip(*map(str.split, lines), strict=True))
    assert len(children) > 6  # every trial is one
    # What loads it is forked from the server, which has loaded nothing itself.
    assert len(parents) == 2
    assert not children & parents


# Going on.


def test_it_is_resumed_from_the_record_with_limits_and_places_given(audit, cut_off):
    path = cut_off()
    places = [*FILE_WORDS, "--data", f"imagefolder:{audit.home / 'images'}"]
    done = resume(path, *places, "--rounds", 1, "--on-foreign", "wait", audit=audit)
    assert done.returncode == 0, done.stderr
    record, expected = load(path), audit.record
    assert [t.id for t in record.trials] == [t.id for t in expected.trials]
    assert {t.outcome for t in record.trials} == {"ok"}
    for figure in (lambda t: t.loss.first, lambda t: t.memory.live_tensor_peak_bytes):
        matched = [t for t in record.trials if t.workload != "mine"]
        wanted = [t for t in expected.trials if t.workload != "mine"]
        assert [figure(t) for t in matched] == [figure(t) for t in wanted]
    assert record.ledger == expected.ledger
    assert (record.plan, record.recipe) == (expected.plan, expected.recipe)


def test_files_and_data_may_lie_elsewhere_and_must_be_the_same(audit, cut_off, tmp_path):
    path = cut_off(kept=3)
    home, moved = path.parents[1], tmp_path / "moved to"
    moved.mkdir()
    for name in (*FILES, "beside.py", "images"):
        shutil.move(home / name, moved / name)
    words = ["--data", f"imagefolder:{moved / 'images'}"]
    for name in FILES:
        words += ["--workload-file", moved / name]
    done = resume(path, *words, audit=audit)
    assert done.returncode == 0, done.stderr
    record = load(path)
    assert record.trials[-1].outcome == "ok", record.trials[-1].message
    assert record.missing() == []
    assert record.recipe.data_root == str(moved / "images")
    assert record.recipe_hash == audit.record.recipe_hash
    notes = " ".join(record.notes)
    assert f"since it was resumed, half.py is read from {moved / 'half.py'}" in notes
    assert f"since it was resumed, data is read from {moved / 'images'}" in notes
    assert record.plan.files == audit.record.plan.files


def test_a_plan_of_what_is_missing_with_rounds_added(audit, cut_off):
    path = cut_off(kept=3)
    before = files_in(path.parents[1])
    done = resume(path, "--rounds", 2, "--dry-run", audit=audit)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "4 workloads, 2 rounds: 8 trials, 3 of them done" in said
    assert "what they took in" in said
    # Of the step, the time is known if its trial is one of those that are done.
    known = "mine" in {t.workload for t in load(path).trials}
    what = "memory" if known else "memory and time"
    assert f"mine: {what} not forecast: what a user-defined step does" in said
    assert "loading is in them" not in said
    assert files_in(path.parents[1]) == before


def test_a_whole_audit_is_reported_without_loading_anything(audit):
    (path,) = (audit.home / "audits").iterdir()
    before, loaded = files_in(audit.home), (audit.home / "loaded").read_text()
    for more in ([], ["--dry-run"], FILE_WORDS):
        done = resume(path, *more, audit=audit, cwd=audit.home)
        assert done.returncode == 0, done.stderr
        assert done.stderr == f"nothing is missing in {path}\n"
        assert done.stdout == reported(path)
    assert (files_in(audit.home), (audit.home / "loaded").read_text()) == (before, loaded)


def _remove_file(home):
    (home / "half.py").unlink()


def _change_file(home):
    (home / "half.py").write_text("# not what it was\n")


def _remove_data(home):
    shutil.rmtree(home / "images")


def _add_image(home):
    shutil.copy(home / "images" / "class 0" / "000.jpg", home / "images" / "class 0" / "zzz.jpg")


def _empty_image(home):
    (home / "images" / "class 0" / "000.jpg").write_bytes(b"")


OTHER = ["--workload-file", "beside.py"]


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (_remove_file, [], ["no workload file half.py", "SHA", "put it back", "--workload-file"]),
        (_change_file, [], ["half.py is not what", "its sha256 is", "was SHA", "put the file"]),
        (_change_file, FILE_WORDS, ["half.py is not what", "its sha256 is", "was SHA"]),
        (None, OTHER, ["--workload-file beside.py contradicts", "(half.py, mine.py)"]),
        (
            None,
            ["--workload-file", "half.py"],
            ["--workload-file half.py contradicts", "(half.py, mine.py)"],
        ),
        (None, ["--workloads", "core"], ["--workloads cannot be given with --resume"]),
        (_remove_data, [], ["the data of", "is not in", "--data imagefolder:DIR"]),
        (_add_image, [], ["holds other data than", "was FINGERPRINT", "--data imagefolder:DIR"]),
        (_empty_image, [], ["000.jpg is empty", "--data imagefolder:DIR"]),
        (None, ["--data", "digits"], ["--data digits contradicts", "(imagefolder "]),
        (None, ["--data", "imagefolder:audits"], ["no class folders", "--data imagefolder:DIR"]),
        (None, ["--data", "photos:x"], ["no data 'photos'"]),
        (None, ["--data-workers", "1"], ["--data-workers cannot be given with --resume"]),
        (None, ["--download"], ["--download: there is nothing to download for"]),
    ],
)
def test_what_is_not_the_same_is_one_line(spoil, words, said, audit, cut_off):
    path = cut_off()
    if spoil is not None:
        spoil(path.parents[1])
    before = files_in(path.parents[1])
    # Every other one of a plan: what is said must not depend on it.
    done = resume(path, *words, *["--dry-run"] * (len(said) % 2), audit=audit)
    digits = audit.record.plan.files[0].sha256[:12]
    print_ = audit.record.recipe.data_fingerprint[:12]
    refused(done, *(text.replace("SHA", digits).replace("FINGERPRINT", print_) for text in said))
    assert files_in(path.parents[1]) == before


def test_what_a_file_gives_must_be_what_it_gave(audit, monkeypatch):
    """An undecorated step is named after its file, and what a file imports may change."""
    sources = read_sources([audit.home / name for name in FILES])
    monkeypatch.setenv("LOADED_BY", os.devnull)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = {one.id: one for source in sources for one in describe(source)}
    monkeypatch.setattr(provenance, "describe_files", lambda *_: own)
    assert provenance.file_rows(audit.record, sources, None) == own
    own["half"] = dataclasses.replace(own["half"], schedule="another")
    with pytest.raises(UsageError, match="'half' is described differently than when the audit"):
        provenance.file_rows(audit.record, sources, None)
    own["other"] = own.pop("mine")
    with pytest.raises(UsageError, match=r"mine\.py has no workload 'mine' any more"):
        provenance.file_rows(audit.record, sources, None)


# CIFAR: what is not there may be extracted or downloaded again, but not by a dry run.


def test_cifar_that_is_gone(tmp_path):
    sums = pictures.cifar_archive("cifar10", tmp_path / "served")
    archive = tmp_path / "served" / pictures.ARCHIVE["cifar10"]
    data, out = tmp_path / "data", tmp_path / "out"
    words = [*TINY, "--data", f"cifar10:{data}", "--workloads", "bp", "--rounds", 1, "--out", out]
    data.mkdir()
    shutil.copy(archive, data)
    with pictures.Served(tmp_path / "served") as server:
        url = f"{server.url}/{archive.name}"
        env = pictures.patched_environment(tmp_path / "site", "cifar10", sums, url)
        with many_commands(env):
            assert ffprof("run", *words, env=env).returncode == 0
            (path,) = out.iterdir()
            more = ["--resume", path, "--rounds", 2]
            shutil.rmtree(data)
            refused(ffprof("run", *more, env=env), "the data of", "--data cifar10:DIR")
            done = ffprof("run", *more, "--download", env=env)
            assert done.returncode == 0, done.stderr
    assert f"downloading cifar10 from {url}" in done.stderr
    assert len(load(path).trials) == 2


@pytest.mark.parametrize("there", [False, True])
def test_a_dry_run_neither_extracts_nor_downloads(there, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    sums = pictures.cifar_archive("cifar10", tmp_path / "served")
    pictures.expect(CIFAR10, sums, monkeypatch.setattr)
    data = tmp_path / "data"
    data.mkdir()
    if there:
        shutil.copy(tmp_path / "served" / pictures.ARCHIVE["cifar10"], data)
    told = "extracted" if there else "downloaded"
    with pytest.raises(DataError, match=f"has not been {told} into .* a dry run writes nothing"):
        find_archive("cifar10", str(data), True, print, look_only=True)
    assert len(list(data.iterdir())) == there
