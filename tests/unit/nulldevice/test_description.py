"""What a device is described by, and what its report is read from."""

import ctypes
import json
import re
import struct
from pathlib import Path

import pynvml
import pytest

from ffprof.errors import NullDeviceError
from ffprof.hardware.cards import known_cards
from ffprof.nulldevice import NullDevice, description, environment, read_report
from ffprof.nulldevice.report import _ENTRIES, _ENTRY, _HEADER

NATIVE = Path(description.__file__).parent / "native"
CARD = next(card for card in known_cards() if card.name == "GeForce RTX 4060")


def test_a_device_is_made_of_a_card():
    made = NullDevice.of_card(CARD, count=2)
    assert made.name == "NVIDIA GeForce RTX 4060"
    assert made.total_bytes == CARD.cuda_total_bytes
    assert made.nvml_bytes == CARD.nvml_total_bytes
    assert (made.capability, made.multiprocessors, made.count) == ((8, 9), 24, 2)
    assert made.threads_per_multiprocessor == 1536


@pytest.mark.parametrize(
    ("capability", "threads"),
    [
        ((6, 1), 2048),
        ((7, 5), 1024),
        ((8, 0), 2048),
        ((8, 6), 1536),
        ((9, 0), 2048),
        ((12, 0), 1536),
    ],
)
def test_threads_of_a_multiprocessor(capability, threads):
    assert description.threads_per_multiprocessor(capability) == threads


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 0}, "0 null devices"), ({"count": 99}, "99 null devices"),
        ({"name": "two\nlines"}, "name"), ({"name": ""}, "name"),
        ({"context_bytes": CARD.cuda_total_bytes}, "less memory than its context"),
    ],
)  # fmt: skip
def test_what_is_no_device_is_refused(change, words):
    with pytest.raises(NullDeviceError, match=words):
        NullDevice.of_card(CARD, **change)


def test_a_child_gets_the_description_and_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(description, "library", lambda: Path("/built"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    variables = environment(NullDevice.of_card(CARD), tmp_path / "new")
    assert variables == {
        "LD_PRELOAD": "/built/libffprof_null.so",
        "LD_LIBRARY_PATH": "/built:/mine",
        "FFPROF_NULL_DEVICE": str(tmp_path / "new" / "device"),
    }
    lines = dict(
        line.split(" ", 1) for line in (tmp_path / "new" / "device").read_text().splitlines()
    )
    # Every line is read by the library.
    for key in lines:
        assert f'is("{key}")' in (NATIVE / "description.cpp").read_text()
    assert lines["name"] == "NVIDIA GeForce RTX 4060"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(description, "library", lambda: Path("/built"))
    (tmp_path / "file").write_text("")
    with pytest.raises(NullDeviceError, match="cannot hold a null device"):
        environment(NullDevice.of_card(CARD), tmp_path / "file")


def tally(path, entries, peak, reads):
    text = b"".join(name.encode() + b"\0" for _, name, _ in entries)
    data = _HEADER.pack(
        b"ffnull\0\0", 1, 42, len(entries), len(text), 1, reads, 4 * reads, 0, 0, peak, *[0] * 15
    )
    at = 0
    for kind, name, count in entries:
        data += _ENTRY.pack(kind, at, count)
        at += len(name) + 1
    path.write_bytes(data + bytes(_ENTRY.size * (_ENTRIES - len(entries))) + text)


def test_reports_of_processes_are_added(tmp_path):
    tally(tmp_path / "tally.1.1", [(1, "cudaNew", 2), (4, "kernel", 5)], 100, 3)
    tally(tmp_path / "tally.2.1", [(4, "kernel", 1), (2, "workspace", 7)], 80, 4)
    (tmp_path / "tally.3.1").write_bytes(b"damaged")
    report = read_report(tmp_path)
    assert report.unknown == {"cudaNew": 2}
    assert report.launches == {"kernel": 6}
    assert report.assumed == {"workspace": 7}
    assert (report.reads, report.read_bytes, report.out_of_memory) == (7, 28, 2)
    assert report.peak_bytes[0] == 100
    assert report.processes == 2
    assert json.loads((tmp_path / "report.json").read_text())["launches"] == {"kernel": 6}


def test_a_folder_without_processes_has_an_empty_report(tmp_path):
    assert read_report(tmp_path).processes == 0


def test_structures_of_nvml_are_those_of_its_binding():
    written = (NATIVE / "nvml.cpp").read_text()
    sizes = dict(re.findall(r"sizeof\((\w+)\) == (\d+)", written))
    for name, binding in (
        ("Memory", pynvml.c_nvmlMemory_t), ("Memory2", pynvml.c_nvmlMemory_v2_t),
        ("Process", pynvml.c_nvmlProcessInfo_v3_t), ("Pci", pynvml.nvmlPciInfo_t),
    ):  # fmt: skip
        assert int(sizes[name]) == ctypes.sizeof(binding)


def test_the_layout_of_a_tally_is_the_librarys():
    assert _HEADER.size == 24 + 8 * (5 + 16)
    assert _ENTRY.size == 16 == struct.calcsize("<IIQ")
    assert f"ENTRIES = {_ENTRIES}" in (NATIVE / "tally.cpp").read_text()


def test_sources_are_small():
    # As Python modules are (tests/unit/test_structure.py).
    lines = {p.name: len(p.read_text().splitlines()) for p in NATIVE.rglob("*.*") if p.is_file()}
    assert not {name: n for name, n in lines.items() if n > 400}
