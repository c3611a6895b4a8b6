"""What the modules of a model hold, rolled up: as deep as the memory is, in few rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ffprof.records.script import HeldByModule

MOST_ROWS = 14
OUTSIDE = "outside modules"
ITSELF = " (itself)"  # a module without those inside of it


@dataclass(kw_only=True)
class _Node:
    """A module with all that is inside of it; ``own`` is what it holds itself."""

    path: str
    own: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    inside: dict[str, _Node] = field(default_factory=dict)

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
        return [*([itself] if sum(self.own.values()) else []), *self.inside.values()]


def rolled_up(
    modules: Sequence[HeldByModule], most: int = MOST_ROWS
) -> list[tuple[str, dict[str, int]]]:
    """(path, bytes by category), in at most so many rows, the largest first.

    Whoever holds most is taken apart, as long as the rows suffice; all rows make the whole. What
    belongs to no module is a row of its own, and rows that would be too many are one.
    """
    root = _Node(path="")
    outside: dict[str, int] = defaultdict(int)
    for one in modules:
        node = root
        for part in one.module.split(".") if one.module else ():
            path = f"{node.path}.{part}" if node.path else part
            node = node.inside.setdefault(part, _Node(path=path))
        own = node.own if one.module else outside
        for category, size in one.by_category.items():
            own[category] += size
    most -= bool(outside)
    rows = _apart(root, most)
    found = [(node.path, dict(node.held())) for node in rows if node.size()]
    if outside:
        found.append((OUTSIDE, dict(outside)))
    return sorted(found, key=lambda item: -sum(item[1].values()))


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
