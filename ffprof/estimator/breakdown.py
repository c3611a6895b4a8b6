"""What is held at the peak: which phase, which layer, which kind; and how two steps differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ffprof.estimator.replay import MemoryState
from ffprof.estimator.stream import Category, Line, Phase, Stream
from ffprof.units import format_bytes

ELSEWHERE = "(outside modules)"
_ROWS = 6  # of a breakdown that is printed


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """What is allocated at the peak, in bytes as they were requested.

    ``phase``, ``module`` and ``operator`` are those of the request that reached the peak.
    ``by_module`` has one entry a module path, each by category, ``by_line`` one a line of the
    user's code (file, line, function), ``by_phase`` one a phase in which it was requested.
    ``slack_bytes`` is what rounding and unsplit remainders add: all sums and it make
    ``allocated_bytes``. Printed, it is a few lines; ``tree`` sums modules up.
    """

    phase: Phase
    module: str
    operator: str
    allocated_bytes: int
    reserved_bytes: int
    slack_bytes: int
    by_category: Mapping[Category, int]
    by_module: Mapping[str, Mapping[Category, int]] = field(repr=False)
    by_phase: Mapping[Phase, int]
    by_line: Mapping[Line, Mapping[Category, int]] = field(repr=False)
    largest: tuple[tuple[int, Category, str, str], ...] = field(repr=False)

    def __str__(self) -> str:
        rows = sorted(self.tree(self._depth()).items(), key=lambda row: -row[1])
        more = [f"{len(rows) - _ROWS} more"] if len(rows) > _ROWS else []
        phases = {str(phase): size for phase, size in self.by_phase.items()}
        categories = {str(name): size for name, size in self.by_category.items()}
        return "\n".join(
            (
                f"{format_bytes(self.allocated_bytes)} allocated, most in {self.place()}",
                f"by category: {_sizes(categories)}",
                f"by phase: {_sizes(phases)}",
                f"by module: {', '.join([_sizes(dict(rows[:_ROWS])), *more])}",
            )
        )

    def tree(self, depth: int = 1) -> dict[str, int]:
        """Bytes by module, each with all inside of it, cut to so many names of the path."""
        found: defaultdict[str, int] = defaultdict(int)
        for path, held in self.by_module.items():
            cut = path if path == ELSEWHERE else ".".join(path.split(".")[:depth])
            found[cut] += sum(held.values())
        return dict(found)

    def _depth(self) -> int:
        """The least at which there are some rows."""
        return next((d for d in range(1, 6) if len(self.tree(d)) >= _ROWS), 6)

    def place(self) -> str:
        """Where the peak is, in words."""
        outside = "the optimizer step" if self.phase == "optimizer" else self.phase
        where = f"{self.phase} of {self.module}" if self.module else outside
        return f"{where} ({self.operator})"

    def module_bytes(self, module: str) -> int:
        """All that one module holds."""
        return sum(self.by_module.get(module, {}).values())


def break_down(stream: Stream, state: MemoryState, *, largest: int = 10) -> Breakdown:
    """Sums over what is live in a state; ``largest`` single allocations are named."""
    by_category: defaultdict[Category, int] = defaultdict(int)
    by_module: defaultdict[str, defaultdict[Category, int]] = defaultdict(lambda: defaultdict(int))
    by_line: defaultdict[Line, defaultdict[Category, int]] = defaultdict(lambda: defaultdict(int))
    by_phase: defaultdict[Phase, int] = defaultdict(int)
    live = [stream.allocations[number] for number in state.live]
    for one in live:
        by_category[one.category] += one.nbytes
        by_module[one.module or ELSEWHERE][one.category] += one.nbytes
        by_line[one.line][one.category] += one.nbytes
        by_phase[one.phase] += one.nbytes
    reached = stream.allocations[stream.events[state.position]] if state.position >= 0 else None
    named = sorted(live, key=lambda one: -one.nbytes)[:largest]
    return Breakdown(
        phase=reached.phase if reached else "build",
        module=reached.module if reached else "",
        operator=reached.operator if reached else "",
        allocated_bytes=state.allocated_bytes,
        reserved_bytes=state.reserved_bytes,
        slack_bytes=state.allocated_bytes - state.requested_bytes,
        by_category=dict(sorted(by_category.items(), key=lambda item: -item[1])),
        by_module={name: dict(held) for name, held in by_module.items()},
        by_phase=dict(sorted(by_phase.items(), key=lambda item: -item[1])),
        by_line={line: dict(held) for line, held in by_line.items()},
        largest=tuple((o.nbytes, o.category, o.module or ELSEWHERE, o.operator) for o in named),
    )


def _sizes(held: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in held.items() if size)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What one module holds of one category at the peak of the one step and of the other."""

    module: str
    category: Category
    ours_bytes: int
    theirs_bytes: int

    @property
    def more_bytes(self) -> int:
        """What we hold beyond them; negative if less."""
        return self.ours_bytes - self.theirs_bytes


def differences(ours: Breakdown, theirs: Breakdown) -> tuple[Difference, ...]:
    """Module by module and kind by kind, in the order of the modules; equal entries are left out.

    Modules are matched by their paths.
    """
    modules = dict.fromkeys([*ours.by_module, *theirs.by_module])
    found = []
    for module in modules:
        one, other = ours.by_module.get(module, {}), theirs.by_module.get(module, {})
        for category in dict.fromkeys([*one, *other]):
            here, there = one.get(category, 0), other.get(category, 0)
            if here != there:
                found.append(
                    Difference(
                        module=module, category=category, ours_bytes=here, theirs_bytes=there
                    )
                )
    return tuple(found)
