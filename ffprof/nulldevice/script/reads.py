"""Values that a script reads from the device and that are not known: what, where, how often.

The kernels through which every read goes are replaced by ones that note the line and call the
original, so that ``item``, ``bool``, ``tolist``, printing, boolean masks and what libraries do in
C++ are all seen, and nothing else changes. What is known (``values``) is read as it should be,
and is not noted.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ffprof.nulldevice.script.places import lines_here, of_library, of_torch, place_of
from ffprof.nulldevice.script.report import SCALER, Place, Read

if TYPE_CHECKING:
    from ffprof.nulldevice.script.values import Values

_NUMBER, _COPY, _COUNT, _EQUAL = (
    "a number",
    "a copy to the host",
    "how many elements are not zero",
    "whether tensors are equal",
)
_KERNELS = {
    "_local_scalar_dense": _NUMBER,
    "copy_": _COPY,
    "nonzero": _COUNT,
    "equal": _EQUAL,
}
_MOST = 500  # lines that are told


class Reads:
    """All reads of a process so far."""

    def __init__(self, values: Values) -> None:
        self._found: Counter[tuple[str, Place, str]] = Counter()
        self._libraries: list[Any] = []  # a registration ends with its library
        self._values = values
        self.quiet = False  # this watch itself reads

    def install(self) -> None:
        """Replace the kernels of CUDA tensors."""
        import torch

        self._values.begin(self._silence)
        library = torch.library.Library("aten", "IMPL")
        self._libraries.append(library)
        with warnings.catch_warnings():  # torch 2.11 warns of the first that is replaced
            warnings.simplefilter("ignore")
            for name, what in _KERNELS.items():
                kernel = torch.library.get_kernel(f"aten::{name}", "CUDA")
                made = self._copies(kernel) if what is _COPY else self._noting(kernel, what)
                library.impl(name, made, "CUDA", with_keyset=True, allow_override=True)

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        was, self.quiet = self.quiet, True
        try:
            yield
        finally:
            self.quiet = was

    def told(self) -> tuple[Read, ...]:
        """By line, the most frequent first."""
        return tuple(
            Read(what=what, count=n, place=place, inner=inner, decides_sizes=what is _COUNT)
            for (what, place, inner), n in self._found.most_common(_MOST)
        )

    def _noting(self, kernel: Any, what: str) -> Any:
        def noted(keys: Any, *args: Any, **kwargs: Any) -> Any:
            self._note(what, *args)
            return kernel.call_boxed(keys, *args, **kwargs)

        return noted

    def _copies(self, kernel: Any) -> Any:
        def noted(keys: Any, target: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
            if target.device.type == "cpu" and source.device.type == "cuda":
                self._note(_COPY, source)
            return kernel.call_boxed(keys, target, source, *args, **kwargs)

        return noted

    def _note(self, what: str, *given: Any) -> None:
        if self.quiet or all(map(self._values.is_known, given)):
            return
        lines = lines_here()[1:]
        place = place_of(lines)
        scaler = next((f for f, _, _ in lines if f.endswith(SCALER)), "")
        self._found[what, place, SCALER if scaler else _library(lines, place)] += 1


def _library(lines: list[tuple[str, int, str]], place: Place) -> str:
    """The line of a library that the user's line had read; empty if the user's did it itself."""
    file, line = next(((f, n) for f, n, _ in lines if not of_torch(f)), ("", 0))
    if (file, line) == (place.file, place.line) or not of_library(file):
        return ""
    return f"{file.partition('-packages/')[2] or file.rpartition('/')[2]}:{line}"
