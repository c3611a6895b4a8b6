"""What the modules of a model hold, rolled up: as deep as the memory is, in few rows.

Blocks that are numbered and hold alike are one row, such as ``encoder.layer[0:12]``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MOST_ROWS = 14
OUTSIDE = "outside modules"
ITSELF = " (itself)"  # a module without those inside of it
_ALIKE = 0.02  # how far sizes of blocks that are one row may be apart


class Holder(Protocol):
    """What a module itself holds; one of no module has an empty path, or an operator's name."""

    @property
    def module(self) -> str:
        """Its path."""

    @property
    def by_category(self) -> Mapping[str, int]:
        """Bytes."""


@dataclass(kw_only=True)
class _Node:
    """A module with all that is inside of it; ``own`` is what it holds itself.

    ``count`` modules that are alike may be one.
    """

    path: str
    own: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    inside: dict[str, _Node] = field(default_factory=dict)
    count: int = 1

    def held(self) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int, self.own)
        for one in self.inside.values():
            for category, size in one.held().items():
                found[category] += size
        return found

    def size(self) -> int:
        return sum(self.held().values())

    def parts(self) -> list[_Node]:
        """One level deeper; itself is one of them if it holds anything."""
        itself = _Node(path=self.path + ITSELF, own=self.own)
        return [*([itself] if sum(self.own.values()) else []), *_folded(self)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A module, or ``count`` that are alike and numbered, with all that is inside of them."""

    path: str
    by_category: Mapping[str, int]
    count: int = 1

    @property
    def total_bytes(self) -> int:
        """All categories, of all of them."""
        return sum(self.by_category.values())


def rolled_up(modules: Iterable[Holder], most: int = MOST_ROWS) -> list[Row]:
    """At most so many rows, the largest first.

    Whoever holds most is taken apart, as long as the rows suffice; all rows make the whole. What
    belongs to no module is a row of its own, and rows that would be too many are one.
    """
    root = _Node(path="")
    outside: dict[str, int] = defaultdict(int)
    for one in modules:
        node, inside = root, bool(one.module) and not one.module.startswith("(")
        for part in one.module.split(".") if inside else ():
            path = f"{node.path}.{part}" if node.path else part
            node = node.inside.setdefault(part, _Node(path=path))
        own = node.own if inside else outside
        for category, size in one.by_category.items():
            own[category] += size
    most -= bool(outside)
    rows = [
        Row(path=node.path, by_category=dict(node.held()), count=node.count)
        for node in _apart(root, most)
        if node.size()
    ]
    if outside:
        rows.append(Row(path=OUTSIDE, by_category=dict(outside)))
    return sorted(rows, key=lambda row: -row.total_bytes)


def _apart(root: _Node, most: int) -> list[_Node]:
    rows = root.parts()
    if len(rows) > most:  # more models than rows
        rows.sort(key=lambda node: -node.size())
        rest = _Node(path=f"{len(rows) - most + 1} others")
        rest.inside = {node.path: node for node in rows[most - 1 :]}
        return [*rows[: most - 1], rest]
    while True:
        for node in sorted(rows, key=lambda node: -node.size()):
            parts = node.parts()
            if node.inside and len(rows) - 1 + len(parts) <= most:
                rows.remove(node)
                rows += parts
                break
        else:
            return rows


def _folded(parent: _Node) -> list[_Node]:
    """The modules inside of one, those in a row that are alike as one."""
    found: list[_Node] = []
    run: list[tuple[int, _Node]] = []
    for name, node in parent.inside.items():
        number = int(name) if name.isascii() and name.isdigit() else None
        if run and not (number == run[-1][0] + 1 if number is not None else False):
            found.append(_merged(parent, run))
            run = []
        if run and not _alike(run[0][1], node):
            found.append(_merged(parent, run))
            run = []
        if number is None:
            found.append(node)
        else:
            run.append((number, node))
    if run:
        found.append(_merged(parent, run))
    return found


def _alike(one: _Node, other: _Node) -> bool:
    """Whether they have the same parts, and hold about the same."""
    here, there = one.size(), other.size()
    return (
        bool(one.inside)
        and list(one.inside) == list(other.inside)
        and abs(here - there) <= _ALIKE * max(here, there)
    )


def _merged(parent: _Node, run: Sequence[tuple[int, _Node]]) -> _Node:
    (first, node), (last, _) = run[0], run[-1]
    if len(run) == 1:
        return node
    path = f"{parent.path}[{first}:{last + 1}]" if parent.path else f"[{first}:{last + 1}]"
    return _sum([one for _, one in run], path)


def _sum(nodes: Sequence[_Node], path: str) -> _Node:
    """Modules of the same parts as one."""
    made = _Node(path=path, count=sum(node.count for node in nodes))
    for node in nodes:
        for category, size in node.own.items():
            made.own[category] += size
    for name in dict.fromkeys(name for node in nodes for name in node.inside):
        same = [node.inside[name] for node in nodes if name in node.inside]
        made.inside[name] = _sum(same, f"{path}.{name}")
    return made
