"""Audits on the null device: what begins the command again, and on which device."""

from pathlib import Path

import pytest
import records

from ffprof.errors import NullDeviceError, UsageError
from ffprof.experiments.audit import emulation
from ffprof.experiments.options import Options
from ffprof.hardware.cards import find_card
from ffprof.records.audit import Budget
from ffprof.units import GIB

FILE = Path("audit.json")


class BegunAgain(Exception):
    """In place of a process that goes on elsewhere."""


@pytest.fixture
def begun(monkeypatch):
    devices = []

    def continue_on(device):
        devices.append(device)
        raise BegunAgain

    monkeypatch.setattr(emulation, "continue_on", continue_on)
    monkeypatch.delenv("FFPROF_NULL_DEVICE", raising=False)
    return devices


def made_on(name, total, null=True):
    made = records.record([records.trial("bp", 0)])
    machine = {"null_device": null, "gpu": name, "gpu_total_bytes": total}
    return made.model_copy(update={"machine": made.machine.model_copy(update=machine)})


@pytest.mark.parametrize(
    ("asked", "name", "total"),
    [
        ({"card": "RTX 4060"}, "NVIDIA GeForce RTX 4060", find_card("RTX 4060").cuda_total_bytes),
        ({}, "NVIDIA GeForce RTX 5050", find_card("RTX 5050").cuda_total_bytes),
        ({"gpu_mem": "9GB", "device": "estimate"}, "a GPU of 9GB", None),
    ],
)
def test_the_command_begins_again_on_the_card_that_was_asked_for(begun, asked, name, total):
    with pytest.raises(BegunAgain):
        emulation.on_null_device(Options(**asked), {})
    assert begun[0].name == name
    assert total is None or begun[0].total_bytes == total


def test_there_it_is_an_audit_on_cuda_of_one_round(begun, monkeypatch):
    monkeypatch.setenv("FFPROF_NULL_DEVICE", "/a/device")
    there = emulation.on_null_device(Options(device="estimate"), {})
    assert (there.device, there.rounds) == ("cuda", 1)
    there = emulation.on_null_device(Options(rounds=2), {"rounds": 2})
    assert (there.device, there.rounds) == ("cuda", 2)
    emulation.on_device_of(made_on("NVIDIA GeForce RTX 4060", 8 * GIB), FILE)
    assert not begun


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"device": "cpu"}, "--engine null is for --device estimate, and --device is cpu"),
        ({"device": "cuda"}, "and --device is cuda"),
        ({"display": True}, "nothing but the trial uses a null device"),
        ({"card": "RTX 4061"}, "RTX 4061"),
    ],
)
def test_what_cannot_be_had_there_is_refused(begun, asked, words):
    with pytest.raises(UsageError, match=words):
        emulation.on_null_device(Options(**asked), {})
    assert not begun


@pytest.mark.parametrize("total", [find_card("RTX 4060").cuda_total_bytes, 32 * GIB])
def test_a_result_is_gone_on_with_on_the_device_that_it_was_made_on(begun, total):
    with pytest.raises(BegunAgain):
        emulation.on_device_of(made_on("NVIDIA GeForce RTX 4060", total), FILE)
    assert (begun[0].name, begun[0].total_bytes) == ("NVIDIA GeForce RTX 4060", total)
    assert begun[0].nvml_bytes >= total


def test_a_result_of_a_gpu_begins_nothing_again(begun):
    emulation.on_device_of(made_on("NVIDIA GeForce RTX 4060", 8 * GIB, null=False), FILE)
    assert not begun


def test_a_device_that_is_no_card_here_is_named(begun):
    with pytest.raises(NullDeviceError, match=r"audit\.json was made on a null device, Card of"):
        emulation.on_device_of(made_on("NVIDIA Card of mine", 9 * GIB), FILE)


def test_a_device_of_a_size_alone_is_made_again(begun):
    made = made_on("a GPU of 9GB", 9 * GIB)
    made = made.model_copy(update={"budget": Budget(requested="9GB")})
    with pytest.raises(BegunAgain):
        emulation.on_device_of(made, FILE)
    assert begun[0].name == "a GPU of 9GB"


def test_a_result_on_it_is_not_made_again_together_with_others(begun):
    null, real = made_on("NVIDIA GeForce RTX 4060", 8 * GIB), made_on("x", 8 * GIB, null=False)
    pairs = [(Path("real.json"), real), (Path("null.json"), null)]
    with pytest.raises(NullDeviceError, match=r"null\.json was made on a null device, and is not"):
        emulation.all_on_device_of(pairs)
    with pytest.raises(BegunAgain):
        emulation.all_on_device_of(pairs[1:])
