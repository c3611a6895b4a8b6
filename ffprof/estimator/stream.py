"""The stream: what a traced training step asks of the caching allocator, in order; free of torch.

Tracing and everything after it meet here. A tracer writes a stream; the allocator replays it, the
breakdown explains it, the roofline times its operators. It is data, so one trace serves every
budget, allocator setting and card.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["build", "data", "forward", "backward", "recompute", "optimizer", "other"]
Category = Literal[
    "parameter", "buffer", "gradient", "optimizer state", "activation", "temporary", "workspace",
    "data", "other",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Convolution:
    """One pass of one convolution, as the library that computes it sees it.

    ``input`` is (n, c, spatial...), ``weight`` (k, c / groups, window...), ``output``
    (n, k, spatial...), all of the forward convolution whatever the pass.
    """

    which: Literal["forward", "data gradient", "weight gradient"]
    input: tuple[int, ...]
    weight: tuple[int, ...]
    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    channels_last: bool
    element_bytes: int


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A product that a BLAS library computes.

    ``thread`` is which thread calls it: each has a handle of its own, with its own workspace.
    ``fused`` products (bias and activation in one call) go through cublasLt.
    """

    thread: Literal["forward", "autograd"]
    fused: bool
    element_bytes: int


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction whose inputs several blocks of threads may share, before a card is known.

    ``outputs`` are reduced to, from ``values`` by each thread of a block of ``threads``, of which
    ``lanes`` have a result of their own; ``blocks`` cover all outputs.
    """

    outputs: int
    accumulator_bytes: int
    lanes: int
    threads: int
    values: int
    blocks: int


Line = tuple[str, int, str] | None  # file, line, function of the user's code
Scratch = Convolution | MatrixProduct | Reduction


@dataclass(slots=True)
class Allocation:
    """One request for memory, and what it was for.

    ``nbytes`` is what is requested, before the allocator rounds it. ``scratch`` says for which
    library call or kernel workspace is asked; its size is then for ``estimator.cuda.workspaces``
    to say, and ``part`` numbers what one call asks for.
    ``module`` is the path of the module whose work it is ("features.3"), in backward too, and
    ``operator`` the operator that asked ("aten.convolution"). ``line`` is the user's, if known.
    """

    nbytes: int
    category: Category
    phase: Phase
    module: str
    operator: str
    scratch: Scratch | None = None
    part: int = 0
    line: Line = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator that ran.

    Its FLOPs count a multiply-add as two, its bytes are those of the tensors that it reads and
    writes. ``recorded`` tells whether autograd recorded a graph then. ``position`` is that of
    the next event of the stream. ``times`` is how often it runs where a repeated part was traced
    once.
    """

    name: str
    phase: Phase
    module: str
    flops: int
    read_bytes: int
    written_bytes: int
    element_bytes: int
    position: int
    recorded: bool = True
    times: int = 1

    @property
    def touched_bytes(self) -> int:
        """Read and written."""
        return self.read_bytes + self.written_bytes


@dataclass(slots=True)
class Stream:
    """Allocations, the order in which they are made and freed, and the operators between.

    An event ``n >= 0`` makes ``allocations[n]``; ``~n`` frees it. What is never freed lives on.
    ``marks`` are (position among the events, name), in order: "step 0 begins" and the like;
    ``operator_marks`` are the same places among the operators. At the positions in ``emptied``,
    before the event there, all that is cached and free is returned to the device.
    """

    allocations: list[Allocation] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    operator_marks: list[tuple[int, str]] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    emptied: list[int] = field(default_factory=list)

    def allocate(self, allocation: Allocation) -> int:
        """Append; the number by which it is freed."""
        number = len(self.allocations)
        self.allocations.append(allocation)
        self.events.append(number)
        return number

    def free(self, number: int) -> None:
        """Append the end of an allocation."""
        self.events.append(~number)

    def mark(self, name: str) -> None:
        """Name this place."""
        self.marks.append((len(self.events), name))
        self.operator_marks.append((len(self.operators), name))

    def cut(self, events: int, allocations: int, operators: int) -> None:
        """Forget what came after so many of each."""
        del self.events[events:], self.allocations[allocations:], self.operators[operators:]
        self.marks = [mark for mark in self.marks if mark[0] <= events]
        self.operator_marks = [mark for mark in self.operator_marks if mark[0] <= operators]

    def live(self) -> Iterator[tuple[int, int]]:
        """(position, live bytes after that event): tensors alone, before any rounding."""
        bytes_now = 0
        for position, event in enumerate(self.events):
            if event >= 0:
                bytes_now += self.allocations[event].nbytes
            else:
                bytes_now -= self.allocations[~event].nbytes
            yield position, bytes_now
