"""Which functions a shared library or an object file defines, and which it wants from others.

Reads the symbol tables of 64-bit little-endian ELF files (System V ABI, chapter 4), so that no
tool of binutils is needed.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SYMTAB, _DYNSYM = 2, 11  # kinds of sections
_GLOBAL, _WEAK = 1, 2
_HIDDEN = 2  # visibility


@dataclass(frozen=True)
class Symbols:
    """Names of a file: what it defines for others, and what it takes from them."""

    defined: frozenset[str]
    wanted: frozenset[str]


def read_symbols(path: Path, *, dynamic: bool) -> Symbols:
    """The symbols of a shared library (``dynamic``) or of an object file.

    Raises:
        ValueError: it is not such a file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            found = list(_symbols(data, _DYNSYM if dynamic else _SYMTAB))
        except (struct.error, IndexError, OverflowError) as error:
            raise ValueError(f"{path} is not a whole ELF file") from error
    return Symbols(
        defined=frozenset(name for name, is_defined in found if is_defined),
        wanted=frozenset(name for name, is_defined in found if not is_defined),
    )


def _symbols(data: mmap.mmap, kind: int) -> Iterator[tuple[str, bool]]:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (offset,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + size * i) for i in range(count)]
    for header in headers:
        if header[1] != kind:
            continue
        start, length, link = header[4], header[5], header[6]
        names, names_length = headers[link][4], headers[link][5]
        text = data[names : names + names_length]
        for name, info, other, section, _value, _size in struct.iter_unpack(
            "<IBBHQQ", data[start : start + length]
        ):
            if info >> 4 not in (_GLOBAL, _WEAK) or not name or other & 3 == _HIDDEN:
                continue
            end = text.index(b"\0", name)
            yield text[name:end].decode("ascii", "replace"), section != 0
