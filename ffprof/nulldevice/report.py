"""What processes on a null device counted, read from the files that they leave in its folder.

The layout is that of ``native/tally.cpp``. The files are mapped by whoever writes them, so what
was counted is there after a kill too.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

_MAGIC = b"ffnull\0\0"
_DEVICES = 16
_HEADER = struct.Struct(f"<8sIIII5Q{_DEVICES}Q")
_ENTRY = struct.Struct("<IIQ")
_ENTRIES = 16384
_KINDS = {
    1: "unknown", 2: "assumed", 3: "library_calls", 4: "launches", 5: "computed", 6: "modelled",
}  # fmt: skip
_TEXT_AT = _HEADER.size + _ENTRY.size * _ENTRIES


@dataclass(frozen=True, kw_only=True)
class DeviceReport:
    """All processes of a folder together.

    ``unknown``: calls that the device has no answer for, and answered as not supported.
    ``assumed``: calls answered by an assumption that nothing was held against, such as what a
    recurrent layer keeps. ``modelled``: sizes by a model whose error is known, which are those of
    cuDNN's convolutions. ``library_calls``: of cuBLAS, cuDNN and others, whose results are not
    computed. ``launches``: kernels that did nothing, by
    their mangled names; ``computed``: those whose results are right. Each maps a name to a count.
    ``reads`` and ``read_bytes``: copies from the device to the host. ``peak_bytes``: by device,
    the most that one process took, its context included. ``out_of_memory``: how often memory was
    refused.
    """

    unknown: dict[str, int] = field(default_factory=dict)
    assumed: dict[str, int] = field(default_factory=dict)
    modelled: dict[str, int] = field(default_factory=dict)
    library_calls: dict[str, int] = field(default_factory=dict)
    launches: dict[str, int] = field(default_factory=dict)
    computed: dict[str, int] = field(default_factory=dict)
    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0
    peak_bytes: tuple[int, ...] = (0,) * _DEVICES
    out_of_memory: int = 0
    processes: int = 0

    def to_json(self) -> str:
        """As a JSON object, with the names of the fields."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)


def read_report(folder: Path) -> DeviceReport:
    """The report of all processes that ran, or still run, on the device of ``folder``.

    It is also written there, as report.json. Files that are damaged are left out.
    """
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in _KINDS.values()}
    totals = [0] * 5
    peaks = [0] * _DEVICES
    processes = 0
    for path in sorted(folder.glob("tally.*")):
        data = path.read_bytes()
        if len(data) < _TEXT_AT:
            continue
        magic, version, _pid, _entries, _text, *numbers = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != 1:
            continue
        processes += 1
        totals = [a + b for a, b in zip(totals, numbers[:5], strict=True)]
        peaks = [max(a, b) for a, b in zip(peaks, numbers[5:], strict=True)]
        for kind, name, count in _entries_of(data):
            counts[kind][name] += count
    out_of_memory, reads, read_bytes, writes, written_bytes = totals
    report = DeviceReport(
        **{kind: dict(found.most_common()) for kind, found in counts.items()},
        reads=reads,
        read_bytes=read_bytes,
        writes=writes,
        written_bytes=written_bytes,
        peak_bytes=tuple(peaks),
        out_of_memory=out_of_memory,
        processes=processes,
    )
    (folder / "report.json").write_text(report.to_json())
    return report


def _entries_of(data: bytes) -> list[tuple[str, str, int]]:
    found = []
    for kind, offset, count in _ENTRY.iter_unpack(data[_HEADER.size : _TEXT_AT]):
        if kind in _KINDS and count:
            end = data.find(b"\0", _TEXT_AT + offset)
            name = data[_TEXT_AT + offset : max(end, 0)].decode("utf-8", "replace")
            found.append((_KINDS[kind], name, count))
    return found
