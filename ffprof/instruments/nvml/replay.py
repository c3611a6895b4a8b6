"""Sources without a driver: one that plays back, and one that knows nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ffprof.instruments.nvml.library import NvmlError
from ffprof.instruments.nvml.sample import DeviceFacts, Sample


class ReplayedGpu:
    """Plays back samples, and errors where there is one in their place; the last one repeats."""

    def __init__(
        self, samples: Iterable[Sample | NvmlError], facts: DeviceFacts | None = None
    ) -> None:
        self._samples = list(samples)
        self._facts = facts or DeviceFacts(uuid="GPU-replayed")
        self.closed = False

    def facts(self) -> DeviceFacts:
        """What was given."""
        return self._facts

    def sample(self) -> Sample:
        """The next one.

        Raises:
            NvmlError: where there is one.
        """
        found = self._samples.pop(0) if len(self._samples) > 1 else self._samples[0]
        if isinstance(found, NvmlError):
            raise found
        return found

    def close(self) -> None:
        """Nothing to release."""
        self.closed = True


class NullGpu:
    """Tells nothing, for a reason: a device that is no GPU."""

    def __init__(self, reason: str, clock: Callable[[], float] = time.monotonic) -> None:
        names = set(Sample.__dataclass_fields__) - {"seconds", "unread"}
        self._unread, self._clock = dict.fromkeys(sorted(names), reason), clock

    def sample(self) -> Sample:
        """Nothing but the reason."""
        return Sample(seconds=self._clock(), unread=self._unread)

    def close(self) -> None:
        """Nothing to release."""
