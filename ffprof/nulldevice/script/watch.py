"""Watches one process of a script: its steps, its memory, its end.

Steps are marked by PyTorch's own hooks of optimizers. A round is one step of every optimizer that
the script has; after the number of rounds that was requested, the process tells what it knows and
ends as by ``sys.exit(0)``.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import sys
import weakref
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

from ffprof.nulldevice.script.addresses import Addresses
from ffprof.nulldevice.script.holders import Marks, held_at_peak
from ffprof.nulldevice.script.modules import Modules
from ffprof.nulldevice.script.operators import Operators
from ffprof.nulldevice.script.peaks import Peaks
from ffprof.nulldevice.script.places import lines_here, lines_of_traceback, place_of
from ffprof.nulldevice.script.reads import Reads
from ffprof.nulldevice.script.report import (
    FOLDER,
    SNAPSHOT,
    STEPS,
    Held,
    Problem,
    RanOut,
    ScriptReport,
    StepOperators,
    highest,
    write_report,
)

_HISTORY = 2_000_000  # events; a step of a large model has some ten thousand
# An optimizer that never steps is waited for so many times as long as was requested.
_PATIENCE = 8
_REPEATS = 3  # times that the script may catch its end
_LIBRARIES = (
    "transformers", "accelerate", "torchvision", "timm", "peft", "lightning", "pytorch_lightning",
    "deepspeed", "diffusers", "bitsandbytes", "flash_attn", "xformers", "triton", "numpy",
)  # fmt: skip


class StepsDone(SystemExit):
    """All steps that were requested are done; not an ``Exception``, so that few catch it."""


class Watch:
    """Of this process, ``here``; its children are not watched if they are forked."""

    here: ClassVar[Watch | None] = None

    def __init__(self) -> None:
        from ffprof.nulldevice.script.values import Values

        self._folder = Path(os.environ[FOLDER])
        self._wanted = int(os.environ[STEPS])
        self._pid = os.getpid()
        self._peaks, self._modules = Peaks(), Modules()
        self._values = Values()
        self._reads = Reads(self._values)
        self._operators = Operators(self._folder / f".trace-{self._pid}.json")
        self._work: StepOperators | None = None
        self._marks: dict[int, Marks] = defaultdict(Marks)
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self._steps: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._rounds = self._ended = 0
        self._cuda = self._finished = self._reset = self._calls = False
        self._ran_out: RanOut | None = None
        self._held: Held | None = None

    def install(self) -> None:
        """Hook into optimizers, the allocator and the end of the process."""
        import torch
        from torch.optim import optimizer

        Watch.here = self
        self._peaks.install()
        self._modules.install()
        self._values.install()
        torch.cuda._lazy_call(self._begin)
        optimizer.register_optimizer_step_pre_hook(self._before_step)
        optimizer.register_optimizer_step_post_hook(self._after_step)
        made = torch.optim.Optimizer.__init__

        @functools.wraps(made)
        def noted(one: Any, *args: Any, **kwargs: Any) -> None:
            made(one, *args, **kwargs)
            self._known.add(one)

        vars(torch.optim)["Optimizer"].__init__ = noted
        atexit.register(self._at_exit)
        self._tell()

    @property
    def _ours(self) -> bool:
        """Whether this is the process that is watched, and not a fork of it."""
        return os.getpid() == self._pid

    def _begin(self) -> None:
        """CUDA is there."""
        import torch

        if not self._ours:
            return
        self._cuda = True
        torch.cuda.memory._record_memory_history(
            context="alloc", stacks="python", max_entries=_HISTORY
        )
        vars(torch._C)["_cuda_attach_out_of_memory_observer"](self._runs_out)
        self._reads.install()

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._ours:
            self._known.add(optimizer)
            self._modules.outside()
            self._mark(optimizer)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not self._ours:
            return
        if self._calls:
            self._mark(optimizer)
            return
        if self._finished:
            self._end()
        steps = self._steps[optimizer] = self._steps.get(optimizer, 0) + 1
        rounds = min(self._steps.values())
        complete = len(self._steps) == len(self._known)
        self._mark(optimizer, new_round=rounds > self._rounds)
        self._rounds = max(rounds, self._rounds)
        if not self._reset and (complete or steps > 1):
            self._reset = True
            self._first_step_ends()
        if rounds == self._wanted - 1 and complete:
            self._begin_last()
        if (rounds >= self._wanted and complete) or steps >= self._wanted * _PATIENCE:
            self._finished = True
            self._finish()
            self._end()
        self._tell()

    def count_calls(self) -> None:
        """A step is what ``end_step`` ends, and not one of an optimizer."""
        self._calls = True

    def begin_steps(self) -> None:
        """What was made so far was there before the steps."""
        self._mark(*list(self._known), new_round=True)

    def end_step(self) -> None:
        """A call of a step is over. Peaks are those of the last, and cold before it.

        Raises:
            StepsDone: it was the last.
        """
        self._rounds += 1
        self._mark(*list(self._known), new_round=True)
        if self._rounds == self._wanted - 1:
            self._reset = True
            self._first_step_ends()
            self._begin_last()
        if self._rounds >= self._wanted:
            self._finished = True
            self._finish()
            self._end()
        self._tell()

    def _begin_last(self) -> None:
        """The last step begins, the one of which operators are told; not of compiled code."""
        if self._cuda and not _compiled():
            self._operators.begin()

    def _first_step_ends(self) -> None:
        if self._cuda:
            self._peaks.end_first_step()
            for device, marks in self._marks.items():
                marks.steady = self._peaks.counts(device)

    def _mark(self, *optimizers: Any, new_round: bool = False) -> None:
        """Note where the tensors of modules and optimizers are now, and that a step has ended."""
        if not self._cuda:
            return
        import torch

        found = Addresses(self._modules, optimizers)
        ended = range(torch.cuda.device_count()) if new_round else ()
        for device in {*found.devices, *ended}:
            requests, _ = self._peaks.counts(device)
            marks = self._marks[device]
            marks.kinds.append((requests, found.kinds[device]))
            marks.modules.append((requests, found.modules[device]))
            if new_round:
                marks.ends.append(requests)

    def _runs_out(self, device: int, asked: int, total: int, free: int) -> None:
        """PyTorch is about to raise OutOfMemoryError; cuDNN's plans may be tried one by one."""
        if not self._ours:
            return
        allocated, reserved = self._peaks.held(device)
        self._mark(*list(self._known))
        count = self._ran_out.count + 1 if self._ran_out else 1
        self._ran_out = RanOut(
            device=device,
            asked=asked,
            allocated=allocated,
            reserved=reserved,
            count=count,
            place=place_of(lines_here()),
        )

    def _finish(self) -> None:
        """All is done: see what is held at the peak, write the snapshot, tell."""
        collects = gc.isenabled()
        gc.disable()  # it would look again and again through what is read now
        try:
            self._work = self._operators.end()
            self._look(out_of_memory=False)
            self._tell()
        finally:
            if collects:
                gc.enable()

    def _look(self, *, out_of_memory: bool) -> None:
        import torch

        if not self._cuda:
            return
        self._reads.quiet = True
        top = highest(self._peaks.told())
        path = os.environ.get(SNAPSHOT)
        if path:
            torch.cuda.memory._dump_snapshot(f"{path}.{self._pid}")
        if top is None:
            return
        peak = top.cold_allocated if top.allocated is None else top.allocated
        traces = torch.cuda.memory._snapshot()["device_traces"]
        at = self._ran_out.device if out_of_memory and self._ran_out else top.device
        held = held_at_peak(traces[at], self._marks[at], at, None if out_of_memory else peak)
        self._held = held and self._modules.of(held)

    def _end(self) -> None:
        """Leave the script, by force if it holds on.

        Raises:
            StepsDone: always, but the last time.
        """
        self._ended += 1
        if self._ended > _REPEATS:
            os._exit(0)
        raise StepsDone(0)

    def _at_exit(self) -> None:
        if self._ours and not self._finished:
            out = self._problem()
            ran_out = bool(out and out.out_of_memory and self._ran_out)
            if ran_out or self._rounds:  # PyTorch's snapshot imports its compiler, for seconds
                self._look(out_of_memory=ran_out)
            self._tell(out)
        if self._ours and (self._finished or getattr(sys, "last_value", None)):
            gc.freeze()  # looking through all of PyTorch once more takes as long as the steps

    def _problem(self) -> Problem | None:
        """The exception that nobody caught; Python keeps it when it has been printed."""
        import torch

        error = getattr(sys, "last_value", None)
        if not isinstance(error, BaseException):
            return None
        return Problem(
            kind=type(error).__name__,
            message=str(error)[:2000],
            place=place_of(lines_of_traceback(error.__traceback__)),
            out_of_memory=isinstance(error, torch.OutOfMemoryError),
        )

    def _tell(self, problem: Problem | None = None) -> None:
        write_report(
            ScriptReport(
                pid=self._pid,
                python=sys.executable,
                steps=self._rounds,
                finished=self._finished,
                used_cuda=self._cuda,
                compiled=_compiled(),
                versions=_versions(cuda=self._cuda),
                peaks=self._peaks.told() if self._cuda else (),
                reads=self._reads.told(),
                held=self._held,
                operators=self._work,
                problem=problem,
                ran_out=self._ran_out,
            ),
            self._folder,
        )


def _compiled() -> bool:
    """Whether torch.compile has compiled anything."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return bool(dynamo and dynamo.counters["frames"]["ok"])


def _versions(*, cuda: bool) -> dict[str, str]:
    """Of everything here that shapes memory; cuDNN's only if CUDA is in use, as asking loads it."""
    import torch

    found = {"torch": str(torch.__version__), "cuda": str(torch.version.cuda)}
    if cuda:
        with contextlib.suppress(RuntimeError):  # one that does not suit this torch
            found["cudnn"] = str(torch.backends.cudnn.version())
    for name in _LIBRARIES:
        module = sys.modules.get(name)
        version = getattr(module, "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found
