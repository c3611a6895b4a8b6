"""The driver's library, through the module ``pynvml`` of nvidia-ml-py."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Any, Self

from ffprof.instruments.nvml.errors import NotSupportedError, NvmlError, NvmlMissingError, typed

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
            raise NvmlError(f"{function} answers with what is no text") from error

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
