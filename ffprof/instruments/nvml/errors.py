"""What NVML can answer instead of an answer. Codes (nvml.h) become types here and nowhere else."""

from __future__ import annotations

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
