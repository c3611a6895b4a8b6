import os

import pytest

from ffprof.hardware import machine
from ffprof.hardware.machine import compare_machines
from ffprof.records.audit import Machine

GIB = 1024**3
VERSIONS = {
    "ffprof": "1", "torch": "2", "torch build": "2+cu", "cuda build": "13", "cudnn": "9",
    "python": "3.12.1", "numpy": "2",
}  # fmt: skip
BEGUN = Machine(
    platform="Linux-6.1",
    cpu="A CPU",
    cpu_count=2,
    ram_bytes=8 * GIB,
    gpu="A GPU",
    gpu_uuid="GPU-1",
    driver="550",
    versions=VERSIONS,
    environment={"OPENBLAS_NUM_THREADS": "1"},
    commit="abc",
)


def compared(device="cpu", **changes):
    return compare_machines(BEGUN, BEGUN.model_copy(update=changes), device)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_machine_is_the_same_as_itself(device):
    found = compared(device)
    assert not (found.hardware or found.software or found.noted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpu": "B CPU"}, "cpu is B CPU and was A CPU"),
        ({"cpu_count": 4}, "cpu count is 4 and was 2"),
        ({"ram_bytes": 16 * GIB}, "RAM is 16.0 GiB and was 8.0 GiB"),
    ],
)
def test_another_machine_is_named(changes, said):
    found = compared(**changes)
    assert found.hardware == (said,)
    assert not found.software


@pytest.mark.parametrize("name", ["ffprof", "torch", "torch build", "cuda build", "python"])
def test_another_version_is_named(name):
    found = compared(versions=VERSIONS | {name: "0"})
    assert found.software == (f"{name} is 0 and was {VERSIONS[name]}",)


def test_a_version_that_is_gone_is_named():
    found = compared(versions={k: v for k, v in VERSIONS.items() if k != "torch"})
    assert found.software == ("torch is none and was 2",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpu_uuid": "GPU-2"}, "gpu uuid"),
        ({"driver": "560"}, "driver"),
        ({"versions": VERSIONS | {"cudnn": "8"}}, "cudnn"),
    ],
)
def test_the_gpu_matters_to_audits_of_the_gpu_only(changes, said):
    on_gpu, on_cpu = compared("cuda", **changes), compared("cpu", **changes)
    assert said in " ".join([*on_gpu.hardware, *on_gpu.software])
    assert not (on_cpu.hardware or on_cpu.software)


@pytest.mark.parametrize(
    "changes",
    [
        {"platform": "Linux-6.2"},
        {"versions": VERSIONS | {"numpy": "3"}},
        {"environment": {"OPENBLAS_NUM_THREADS": "2"}},
    ],
)
def test_what_hardly_matters_is_noted(changes):
    found = compared(**changes)
    assert not (found.hardware or found.software)
    assert len(found.noted) == 1


def test_memory_of_one_class_differs_a_little():
    assert not compared(ram_bytes=8 * GIB - 300 * 1024**2).hardware


@pytest.mark.parametrize("commit", ["def", "abc+", None])
def test_another_commit_is_named(commit):
    assert "commit of the measuring code" in compared(commit=commit).software[0]


def test_uncommitted_changes_cannot_be_compared():
    dirty = BEGUN.model_copy(update={"commit": "abc+"})
    found = compare_machines(dirty, dirty, "cpu")
    assert not found.software
    assert "cannot be compared" in found.noted[0]


def test_commits_that_differ_in_documents_only_are_the_same_code(tmp_path, monkeypatch):
    import subprocess

    def git(*words):
        told = subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b", *words],
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},  # a user may sign, or have hooks
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return told.stdout.strip()

    def commit(name, text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        git("add", ".")
        git("commit", "-qm", name)
        return git("rev-parse", "HEAD")[:12]

    git("init", "-q")
    first = commit("ffprof/a.py", "1")
    second = commit("docs/a.md", "1")
    third = commit("ffprof/a.py", "2")
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    assert machine.same_measuring_code(first, second)
    assert not machine.same_measuring_code(second, third)
    assert not machine.same_measuring_code(first, "0" * 12)
