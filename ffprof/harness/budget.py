"""A trial's process under a budget: the debit is measured, the allocator limited to the rest.

::

    context      first step        warm-up ...  timed ...  untimed passes      end
    |            |                 |                                           |
    debit read   limit set from    debit read again: if more is taken than     debit read: did the
                 what is known     was counted, the limit is made smaller      process stay inside?

What is known before is the larger of what the workload took without a limit, where that was tried,
and what the target card's process is estimated to take. So the limit holds from the first step on.
"""

from __future__ import annotations

from typing import Protocol

import torch

from ffprof.hardware.memory_limit import MemoryLimit, Moment, RanOut, limit_allocator, out_of_memory
from ffprof.instruments.debit import DebitMeter
from ffprof.records.trial import Debit, DebitSource, Memory
from ffprof.units import MIB

SLACK = 32 * MIB  # kept back: memory outside the allocator grows a little after every reading
_NEARLY_FULL = 64 * MIB


class Stepped(Protocol):
    """Is told when the first whole optimizer step is over."""

    def first_step(self) -> None:
        """The device is idle, and the optimizer has its state."""


class NoBudget:
    """A process without a limit: on a CPU."""

    def first_step(self) -> None:
        """Nothing to do."""


class LimitedProcess:
    """One process on a GPU under a ``MemoryLimit``."""

    def __init__(self, hold: MemoryLimit, meter: DebitMeter) -> None:
        self._hold, self._meter = hold, meter
        torch.empty(1, device="cuda")  # the context, and the allocator's first segment
        self._context, self._source = meter.read()
        torch.cuda.empty_cache()
        self._most = self._context
        self._step: int | None = None
        self._peak = 0  # of what was reserved, before the marks are lowered
        self._limit: int | None = None
        self._counted = max(hold.counted_bytes, self._context)

    def begin(self) -> None:
        """Set the limit, where there is one.

        Raises:
            torch.OutOfMemoryError: context and libraries alone exceed the budget.
        """
        self._set_limit()

    def first_step(self) -> None:
        """See ``Stepped``."""
        self._step = self._read()
        if self._step > self._counted:
            self._counted = self._step
            # Cached memory would count against the smaller limit, and is not needed.
            torch.cuda.empty_cache()
            self._set_limit()

    def end(self, memory: Memory) -> Debit:
        """What was taken from beginning to end, with the peaks that were read on the way."""
        peaks = (memory.cold_reserved_peak_bytes, memory.reserved_peak_bytes)
        self._peak = max(self._peak, *(peak or 0 for peak in peaks))
        return self._debit(self._read())

    def explain(self, error: BaseException) -> RanOut:
        """Memory ran out: in which budget, and whether others are to blame."""
        free, total = torch.cuda.mem_get_info()
        moment = Moment(
            reserved_bytes=torch.cuda.memory_reserved(),
            debit_bytes=max(self._most, self._counted),
            free_bytes=free,
            device_bytes=total,
            limit_bytes=self._limit,
        )
        return out_of_memory(self._hold, str(error), moment)

    def debit(self) -> Debit:
        """What is known by now, for a trial that did not come to its end."""
        self._peak = max(self._peak, torch.cuda.max_memory_reserved())
        return self._debit(None)

    def nearly_full(self) -> bool:
        """Whether an error that names no cause may well be one of memory."""
        stats = torch.cuda.memory_stats()
        if stats.get("num_ooms", 0) or stats.get("num_alloc_retries", 0):
            return True
        free, left = torch.cuda.mem_get_info()[0], self._limit
        if left is not None:
            free = min(free, left - torch.cuda.memory_reserved())
        return free < _NEARLY_FULL

    def _read(self) -> int:
        """Read between steps, when what the peak was before must not be forgotten."""
        self._peak = max(self._peak, torch.cuda.max_memory_reserved())
        now, self._source = self._meter.read()
        self._most = max(self._most, now)
        return now

    def _set_limit(self) -> None:
        if not self._hold.limited:
            return
        self._limit = self._hold.total_bytes - self._counted - SLACK
        if self._limit <= 0:
            raise torch.OutOfMemoryError
        limit_allocator(self._limit)

    def _debit(self, end: int | None) -> Debit:
        beyond = self._peak + self._most - self._hold.total_bytes
        source: DebitSource = self._source
        return Debit(
            context_bytes=self._context,
            step_bytes=self._step,
            end_bytes=end,
            source=source,
            counted_bytes=self._counted,
            slack_bytes=SLACK if self._hold.limited else 0,
            limit_bytes=self._limit,
            exceeded_bytes=max(0, beyond) if self._hold.limited else 0,
        )
