"""What holds memory at its peak, from PyTorch's own history of allocations.

A snapshot tells of every request and release with the lines that made it, in order. Which of them
are parameters, gradients and states of optimizers is noted meanwhile, by address and by how many
requests there were by then, because an address is used again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ffprof.nulldevice.script.modules import module_of
from ffprof.nulldevice.script.places import of_torch, place_of
from ffprof.nulldevice.script.report import Held, HeldLine, HeldModule, Place

PARAMETERS, GRADIENTS, STATE = "parameters", "gradients", "optimizer state"
ACTIVATIONS, OTHER = "activations", "other"
_ORDER = (PARAMETERS, GRADIENTS, STATE)  # the first that an allocation is counts
_ROUND = 512  # bytes, to which the allocator rounds every request up
_MOST_LINES = 40
_MOST_MODULES = 5000


@dataclass(kw_only=True)
class Marks:
    """What was noted while the script ran, about one device.

    ``kinds`` are (requests so far, category by address), ``modules`` the same with paths of
    modules, ``ends`` the requests so far at the end of every step, ``steady`` the requests and
    releases at the end of the first.
    """

    kinds: list[tuple[int, Mapping[int, str]]] = field(default_factory=list)
    modules: list[tuple[int, Mapping[int, str]]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    steady: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class _Allocation:
    number: int  # among all requests, from 1 on
    address: int
    size: int
    frames: Sequence[Mapping[str, Any]]
    module: str

    @property
    def rounded(self) -> int:
        return max(_ROUND, -(-self.size // _ROUND) * _ROUND)


def held_at_peak(
    trace: Sequence[Mapping[str, Any]], marks: Marks, device: int, peak_bytes: int | None = None
) -> Held | None:
    """What was held at the highest point of the steady steps, of all if there was none.

    Args:
        trace: of one device, as torch.cuda.memory._snapshot() has it in "device_traces".
        marks: what was noted.
        device: its number.
        peak_bytes: allocated at the peak, of which what tensors did not request is the slack;
            None: memory ran out, and what was held then is wanted.
    """
    last = max((at for at, one in enumerate(trace) if one["action"] == "oom"), default=None)
    if peak_bytes is None and last is not None:
        stop = last
    else:
        stop = _highest(trace, marks.steady if peak_bytes is not None else None)
    live = _live(trace, stop)
    if not live:
        return None
    numbers = _numbers(trace)
    known = _noted(numbers, marks.kinds)
    holders = _noted(numbers, marks.modules)
    now = max(one.number for one in live)
    begun = max((end for end in marks.ends if end < now), default=0)
    by_category: dict[str, int] = defaultdict(int)
    by_line: dict[Place, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    by_module: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in live:
        category = known.get(one.number) or _otherwise(one, begun)
        by_category[category] += one.size
        by_line[_place(one)][category] += one.size
        by_module[holders.get(one.number) or one.module][category] += one.size
    lines = sorted(by_line.items(), key=_most_first)[:_MOST_LINES]
    modules = sorted(by_module.items(), key=_most_first)[:_MOST_MODULES]
    asked = sum(by_category.values())
    whole = sum(one.rounded for one in live) if peak_bytes is None else peak_bytes
    return Held(
        device=device,
        by_category=dict(by_category),
        lines=tuple(HeldLine(place=place, by_category=dict(held)) for place, held in lines),
        modules=tuple(HeldModule(module=path, by_category=dict(held)) for path, held in modules),
        slack=max(0, whole - asked),
    )


def _most_first(item: tuple[Any, Mapping[str, int]]) -> int:
    return -sum(item[1].values())


def _highest(trace: Sequence[Mapping[str, Any]], after: tuple[int, int] | None) -> int:
    """Where most is allocated: how many events of the trace come before."""
    requests = releases = total = best = place = 0
    sizes: dict[int, int] = {}
    steady = after is None
    for at, event in enumerate(trace):
        if event["action"] == "alloc":
            requests += 1
            size = max(_ROUND, -(-event["size"] // _ROUND) * _ROUND)
            sizes[event["addr"]] = size
            total += size
        elif event["action"] == "free_requested":
            releases += 1
            total -= sizes.pop(event["addr"], 0)
        if not steady and after is not None and requests >= after[0] and releases >= after[1]:
            steady, best = True, 0
        if steady and total > best:
            best, place = total, at + 1
    return place


def _live(trace: Sequence[Mapping[str, Any]], stop: int) -> list[_Allocation]:
    """What is held after ``stop`` events."""
    live: dict[int, _Allocation] = {}
    number = forwards = 0
    for event in trace[:stop]:
        if event["action"] == "alloc":
            number += 1
            module, forwards = module_of(event, forwards)
            live[event["addr"]] = _Allocation(
                number=number,
                address=event["addr"],
                size=event["size"],
                frames=event.get("frames", ()),
                module=module,
            )
        elif event["action"] == "free_requested":
            live.pop(event["addr"], None)
    return list(live.values())


def _numbers(trace: Sequence[Mapping[str, Any]]) -> dict[int, list[int]]:
    """Of the requests that got an address, by address, ascending."""
    found: dict[int, list[int]] = defaultdict(list)
    number = 0
    for event in trace:
        if event["action"] == "alloc":
            number += 1
            found[event["addr"]].append(number)
    return found


def _noted(
    numbers: Mapping[int, list[int]], notes: Iterable[tuple[int, Mapping[int, str]]]
) -> dict[int, str]:
    """What was noted about addresses, by the number of the request that they were of then.

    Of several categories, the first in their order counts.
    """
    found: dict[int, str] = {}
    for requests, texts in notes:
        for address, text in texts.items():
            known = numbers.get(address, [])
            at = bisect_right(known, requests) - 1
            if at >= 0:
                one = known[at]
                before = found.get(one, text)
                found[one] = min(text, before, key=_rank)
    return found


def _rank(text: str) -> int:
    return _ORDER.index(text) if text in _ORDER else 0


def _otherwise(one: _Allocation, begun: int) -> str:
    if one.number <= begun or any("/torch/optim/" in file for file, _, _ in _lines(one)):
        return OTHER
    return ACTIVATIONS


def _lines(one: _Allocation) -> Iterable[tuple[str, int, str]]:
    for frame in one.frames:
        yield frame["filename"], frame["line"], frame["name"]


def _place(one: _Allocation) -> Place:
    """The user's line; where autograd made it, no line, and ``function`` says so."""
    lines = list(_lines(one))
    place = place_of(lines)
    if place.file:
        return place
    return Place(function="" if any(not of_torch(file) for file, _, _ in lines) else "backward")
