"""How operators behave on the device that is traced: on CUDA, or on this processor as it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ffprof.estimator.cuda import libraries, sequences
from ffprof.estimator.cuda.dispatch import as_on_cuda
from ffprof.estimator.cuda.requests import Sequence
from ffprof.estimator.stream import Phase, Scratch
from ffprof.estimator.tracing.device import HOST, STAND_IN

_HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """What the tracer asks about a device.

    ``dispatched`` is entered while a step is traced, ``run`` gives an operator's result on fake
    tensors, ``temporaries_of`` bytes that are there while it runs, ``calls_of`` its calls
    that take workspace, ``ordered`` its results as their memory is requested, ``scratch_of`` bytes
    that it takes after them. ``sequence_of`` is all of it in order, for operators of whom that does
    not suffice.
    """

    device: torch.device
    dispatched: Callable[[], AbstractContextManager[None]]
    run: Callable[[Any, Any, Any], Any]
    temporaries_of: Callable[[Any, Any], tuple[int, ...]]
    calls_of: Callable[[Any, Any, Any, Any, Phase], tuple[Scratch, ...]]
    ordered: Callable[[Any, Any], Any]
    scratch_of: Callable[[Any, Any, Any, Any], tuple[int, ...]]
    sequence_of: Callable[[Any, Any, Any, Any, Phase], Sequence | None]


def _run_on_host(func: Any, args: Any, kwargs: Any) -> Any:
    """On a processor, statistics of half-precision inputs are float32 if weights or buffers are."""
    result = func(*args, **kwargs)
    if func is not torch.ops.aten.native_batch_norm.default or args[0].dtype not in _HALVES:
        return result
    if not any(t is not None and t.dtype == torch.float32 for t in args[1:5]):
        return result
    return (result[0], *(t.to(torch.float32) for t in result[1:]))


CUDA = Kernels(
    device=STAND_IN,
    dispatched=as_on_cuda,
    run=libraries.run,
    temporaries_of=libraries.temporaries_of,
    calls_of=libraries.calls_of,
    ordered=libraries.ordered,
    scratch_of=libraries.scratch_of,
    sequence_of=sequences.sequence_of,
)
# Scratch memory inside an operator is not seen, as in a trial.
PROCESSOR = Kernels(
    device=HOST,
    dispatched=nullcontext,
    run=_run_on_host,
    temporaries_of=lambda func, args: (),
    calls_of=lambda func, args, kwargs, result, phase: (),
    ordered=lambda func, result: result,
    scratch_of=lambda func, args, kwargs, result: (),
    sequence_of=lambda func, args, kwargs, result, phase: None,
)
