"""The driver's library, through the module ``pynvml`` of nvidia-ml-py: questions and their errors.

Codes of nvml.h become types of errors here and nowhere else. A question to a device has
alternatives, and a reason where there is no answer.
"""

from __future__ import annotations

import contextlib
import math
import threading
from types import TracebackType
from typing import Any, Self

from ffprof.errors import one_line


class NvmlError(Exception):
    """NVML did not answer; ``reason`` is one line, ``code`` NVML's own, if it gave one."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        self.reason, self.code = one_line(reason), code
        super().__init__(self.reason, code)

    def __str__(self) -> str:
        return f"NVML: {self.reason}"


class NvmlMissingError(NvmlError):
    """There is no NVML here: no driver, no library, or another module called pynvml."""


class DriverMismatchError(NvmlError):
    """The driver was updated under a running kernel: library and kernel module differ."""


class NotSupportedError(NvmlError):
    """This GPU or this driver never answers this question."""


class NoPermissionError(NvmlError):
    """This user is not told."""


class GpuNotFoundError(NvmlError):
    """NVML has no GPU with this UUID."""


class GpuLostError(NvmlError):
    """The GPU has fallen off the bus or hangs until it is reset."""


INVALID_ARGUMENT = 2
UNKNOWN = 999
_TYPES: dict[int, type[NvmlError]] = {
    3: NotSupportedError,
    4: NoPermissionError,
    6: GpuNotFoundError,
    9: NvmlMissingError,  # driver not loaded
    12: NvmlMissingError,  # library not found
    13: NotSupportedError,  # a function that this library does not have yet
    15: GpuLostError,
    16: GpuLostError,  # reset required
    18: DriverMismatchError,
    25: NotSupportedError,  # a structure of another version
    26: NotSupportedError,  # deprecated
    28: GpuLostError,  # a GPU that was there is not found
}
# Asking again would bring the same answer.
LASTING = (NotSupportedError, NoPermissionError)


def typed(code: int, words: str) -> NvmlError:
    """The error for a code of NVML, with NVML's own words for it."""
    return _TYPES.get(code, NvmlError)(words, code)


_NEEDED = ("NVMLError", "NVMLLibraryMismatchError", "nvmlInit", "nvmlShutdown")


class Library:
    """An opened NVML. NVML counts how often it was opened, so each of these closes its own, once.

    Nothing is loaded before the first one is made.

    Raises:
        NvmlMissingError: no driver, no library, or a module pynvml that is not nvidia-ml-py's.
        DriverMismatchError: library and kernel module differ.
        NvmlError: anything else that NVML says.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            reason = f"the module pynvml cannot be imported ({error})"
            raise NvmlMissingError(reason) from error
        if not all(hasattr(pynvml, name) for name in _NEEDED):
            raise NvmlMissingError("the module pynvml is not the one of nvidia-ml-py")
        self.binding: Any = pynvml
        self._lock, self._open = threading.Lock(), False
        self.ask("nvmlInit")
        self._open = True

    def ask(self, function: str, *arguments: Any) -> Any:
        """What a function of the binding returns.

        Raises:
            NvmlError: of the type that the code stands for.
        """
        call = getattr(self.binding, function, None)
        if call is None:
            raise NotSupportedError(f"this pynvml has no {function}")
        try:
            return call(*arguments)
        except self.binding.NVMLError as error:
            raise typed(error.value, str(error)) from error
        except self.binding.NVMLLibraryMismatchError as error:  # no kind of NVMLError
            raise NotSupportedError(f"this driver has no {function}") from error
        except UnicodeDecodeError as error:
            raise NvmlError(f"{function} returned something that is not text") from error

    def close(self) -> None:
        """Close it; may be called again."""
        with self._lock:
            if not self._open:
                return
            self._open = False
        with contextlib.suppress(NvmlError):
            self.ask("nvmlShutdown")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


ABSURD = 2.0**63  # of whatever: no record holds it
Way = tuple[Any, ...]  # a function's name, then its arguments


class Questions:
    """Asks a device and keeps the reasons of what it did not answer, by field, in ``unread``.

    What a driver will never answer is not asked again: even "not supported" takes time.
    """

    def __init__(self, library: Library, *handle: Any) -> None:
        self._library, self._handle = library, handle
        self._ways: dict[str, list[Way]] = {}
        self.unread: dict[str, str] = {}
        self.answered = 0
        self.last_code: int | None = None

    def ask(self, field: str, *ways: Way) -> Any:
        """The answer of the first way that has one; None leaves a reason in ``unread``.

        Raises:
            GpuLostError: the device is gone.
        """
        left = self._ways.setdefault(field, list(ways))
        while left:
            function, *arguments = left[0]
            try:
                answer = self._library.ask(function, *self._handle, *arguments)
            except GpuLostError:
                raise
            except NvmlError as error:
                # The first way is the usual one: its reason says most.
                if len(left) == len(ways) or field not in self.unread:
                    self.unread[field] = error.reason
                self.last_code = error.code
                if not isinstance(error, LASTING):
                    return None
                left.pop(0)
                continue
            self.answered += 1
            self.unread.pop(field, None)
            return answer
        return None

    def refuse(self, field: str, reason: str) -> None:
        """Never ask about this field, for a reason of our own."""
        self._ways[field] = []
        self.unread[field] = reason

    def number(self, field: str, *ways: Way, unit: float = 1.0) -> float | None:
        """``ask`` for a number, in units of which the driver's are ``unit``."""
        answer = self.ask(field, *ways)
        if answer is None:
            return None
        found = float(answer) * unit
        if not math.isfinite(found) or abs(found) >= ABSURD:
            self.unread[field] = f"the driver answers {answer!r:.40}, which cannot be"
            return None
        return found

    def whole(self, field: str, *ways: Way) -> int | None:
        """``ask`` for a whole number."""
        answer = self.ask(field, *ways)
        return None if answer is None else int(answer)

    def truth(self, field: str, *ways: Way) -> bool | None:
        """``ask`` for yes or no."""
        answer = self.ask(field, *ways)
        return None if answer is None else bool(answer)

    def text(self, field: str, *ways: Way) -> str | None:
        """``ask`` for a text."""
        answer = self.ask(field, *ways)
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
