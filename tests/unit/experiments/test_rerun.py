"""The terms of a baseline looked up anew, and its rows as the code has them now."""

from pathlib import Path

import pytest
from records import record, trial

from ffprof.errors import DeviceError, UsageError
from ffprof.experiments.attempt import with_debit
from ffprof.experiments.check.rerun import present_sources, rows_now
from ffprof.experiments.session import Session
from ffprof.experiments.terms import device_again, need_device, terms_again
from ffprof.hardware.budget import budget_for, budget_of
from ffprof.hardware.cards import find_card
from ffprof.hardware.machine import Probe
from ffprof.records.audit import Budget, Debit, WorkloadFile
from ffprof.units import GIB

NONE = Probe(cuda=False, reason="no NVIDIA driver")
LAPTOP = Probe(cuda=True, gpu="NVIDIA GeForce RTX 4060 Laptop GPU", gpu_total_bytes=int(7.75 * GIB))
OTHER = Probe(cuda=True, gpu="GPU X", gpu_total_bytes=int(7.6 * GIB))
H100 = Probe(cuda=True, gpu="NVIDIA H100 80GB HBM3", gpu_total_bytes=int(79.2 * GIB))
RTX = budget_of(find_card("RTX 4060"))


@pytest.fixture(autouse=True)
def native(monkeypatch):
    monkeypatch.setattr("ffprof.experiments.terms.spills", lambda: "")


def baseline(evidence, budget=Budget(), **changes):  # noqa: B008  # frozen
    device = "cpu" if evidence == "measured (cpu)" else "cuda"
    made = record(
        [trial("bp", 0, evidence=evidence, device=device)],
        evidence=evidence,
        judged=False,
    )
    return made.model_copy(update={"budget": budget, **changes})


def again(made, found, path="base.json"):
    need_device(made, path, found)
    return terms_again(made, path, Session(server=None, found=found, variables={}), ())


def test_a_processor_is_a_processor_with_or_without_a_gpu():
    made = baseline("measured (cpu)", Budget(requested="8GB"))
    assert device_again(made) == "cpu"
    for found in (NONE, H100):
        terms = again(made, found)
        assert (terms.evidence, terms.target) == ("measured (cpu)", None)
        assert terms.budget == made.budget


@pytest.mark.parametrize("found", [NONE, H100])
@pytest.mark.parametrize("asked", [RTX, budget_for("7900MiB"), RTX.model_copy()])
def test_an_estimate_is_for_the_same_card_again_and_again(found, asked):
    first = again(baseline("estimated", asked), found)
    assert first.target is not None
    assert first.target.card == (find_card("RTX 4060") if asked.card else None)
    assert first.target.total_bytes == asked.total_bytes
    assert first.budget.limit_bytes == asked.total_bytes - first.budget.debit_bytes
    second = again(baseline("estimated", first.budget), found)
    assert second == first
    assert ("no speed" in " ".join(first.notes)) == (asked.card is None)


def test_an_estimate_for_a_desktop_leaves_as_much_to_it():
    drawn = RTX.model_copy(update={"display_bytes": GIB})
    terms = again(baseline("estimated", drawn), NONE)
    assert terms.target.total_bytes == RTX.total_bytes - GIB
    assert terms.budget.limit_bytes == RTX.total_bytes - GIB - terms.budget.debit_bytes


def test_an_estimate_for_a_card_of_the_users_needs_its_profile():
    unknown = RTX.model_copy(update={"card": "Card of mine"})
    with pytest.raises(UsageError, match="--card-file"):
        again(baseline("estimated", unknown), NONE)


@pytest.mark.parametrize("evidence", ["measured", "emulated"])
def test_without_a_gpu_there_is_another_way(evidence):
    with pytest.raises(DeviceError) as raised:
        again(baseline(evidence, RTX), NONE)
    assert raised.value.exit_code == 3
    assert "no NVIDIA driver" in str(raised.value)
    assert "ffprof run --device estimate" in str(raised.value)


def test_what_was_measured_is_measured_on_a_gpu_of_the_size():
    began = RTX.model_copy(update={"card": "x", "debit_bytes": GIB, "limit_bytes": 5 * GIB})
    for found, card in ((LAPTOP, "GeForce RTX 4060 Mobile"), (OTHER, None)):
        terms = again(baseline("measured", began), found)
        assert (terms.evidence, terms.budget.card, terms.notes) == ("measured", card, ())
        assert terms.budget.total_bytes == terms.budget.limit_bytes == found.gpu_total_bytes
        assert terms.budget.debit_bytes is None
    with pytest.raises(DeviceError, match=r"measured on a GPU with 7\.\d+ GiB.*79\.2\d* GiB"):
        again(baseline("measured", began), H100)
    with pytest.raises(UsageError, match="no budget"):
        again(baseline("measured"), LAPTOP)


def test_what_was_emulated_is_emulated_for_the_same_card():
    began = RTX.model_copy(update={"target_debit_bytes": 7, "limit_bytes": GIB})
    debit = Debit(context_bytes=GIB, source="free memory of the device")
    made = baseline("emulated", with_debit(began, debit))
    assert made.budget.debit_bytes == GIB
    terms = again(made, H100)
    assert terms.evidence == "emulated"
    assert terms.budget == began.model_copy(update={"limit_bytes": RTX.total_bytes})
    assert "a larger GPU limited to 8GB" in terms.notes[0]
    with pytest.raises(DeviceError, match="emulated on a larger GPU, and this one has"):
        again(made, LAPTOP)


def test_a_null_device_and_a_gpu_do_not_stand_for_each_other(monkeypatch):
    whole = RTX.model_copy(update={"whole_gpu": True})
    real = baseline("measured", whole)
    null = baseline("emulated", whole)
    null = null.model_copy(
        update={"machine": null.machine.model_copy(update={"null_device": True})}
    )
    with pytest.raises(DeviceError, match="made on a null device, and this process is on none"):
        again(null, LAPTOP)
    monkeypatch.setenv("FFPROF_NULL_DEVICE", "/a/device")
    with pytest.raises(DeviceError, match="made on a GPU, and this is a null device"):
        again(real, LAPTOP)
    terms = again(null, LAPTOP)
    assert (terms.evidence, terms.budget.total_bytes) == ("emulated", LAPTOP.gpu_total_bytes)
    assert "there are no speeds, losses or energy" in terms.notes[-1]


def test_a_driver_that_spills_is_told(monkeypatch):
    monkeypatch.setattr("ffprof.experiments.terms.spills", lambda: "WSL")
    terms = again(baseline("emulated", RTX), H100)
    assert terms.budget.spills == "WSL"
    assert "host memory" in terms.notes[-1]


def plan(*names, files=()):
    made = record([], workloads=names, rounds=2, judged=False)
    return made.model_copy(update={"plan": made.plan.model_copy(update={"files": files})})


def test_rows_that_are_gone_are_left_out_and_named():
    rows = rows_now(plan("bp", "left-us", "bp-accum"), "base.json", (), None)
    assert [one.id for one in rows.workloads] == ["bp", "bp-accum"]
    assert (rows.gone, rows.files) == (("left-us",), ())
    with pytest.raises(UsageError, match=r"none of the rows of base\.json is known here: left-us"):
        rows_now(plan("left-us"), "base.json", (), None)


def test_files_are_read_as_they_are_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "net.py"
    there.write_text("1")
    old = WorkloadFile(path="net.py", sha256="0" * 64, workloads=("mine",))
    made = plan("mine", files=(old,))
    (source,) = present_sources(made, "base.json", ())
    assert (source.name, source.path, len(source.sha256)) == ("net.py", str(there), 64)
    there.rename(tmp_path / "moved.py")
    told = r"base\.json has rows of a workload file: there is no .* net\.py; .*--workload-file"
    with pytest.raises(UsageError, match=told):
        present_sources(made, "base.json", ())
    (source,) = present_sources(made, "base.json", [tmp_path / "moved.py"])
    assert source.name.endswith("moved.py")


@pytest.mark.parametrize("elsewhere", ["{}/net.py", "../net.py", "below/../../net.py"])
def test_a_baseline_does_not_choose_what_is_executed_outside_the_folder(
    tmp_path, monkeypatch, elsewhere
):
    (tmp_path / "net.py").write_text("1")
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    name = elsewhere.format(tmp_path)
    old = WorkloadFile(path=name, sha256="0" * 64, workloads=("mine",))
    made = plan("mine", files=(old,))
    with pytest.raises(UsageError, match=r"not below the current folder.*--workload-file") as told:
        present_sources(made, "base.json", ())
    assert name in str(told.value)
    (source,) = present_sources(made, "base.json", [Path(name)])
    assert source.path == str(tmp_path / "net.py")


def test_what_is_no_file_is_a_sentence():
    old = WorkloadFile(path="tests", sha256="0" * 64, workloads=("mine",))
    with pytest.raises(UsageError) as told:
        present_sources(plan("mine", files=(old,)), "base.json", ())
    assert str(told.value).startswith(
        "base.json has rows of a workload file: tests is not a file; put it back"
    )
