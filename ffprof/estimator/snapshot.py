"""A replay as PyTorch's own memory snapshot, for pytorch.org/memory_viz and torch.cuda._memory_viz.

The format is that of ``torch.cuda.memory._snapshot`` of torch 2.14 (documented there), a pickle of
plain dictionaries, lists, texts and numbers. What 2.11 lacks of it is ignored by its tools.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from ffprof.errors import StoreError
from ffprof.estimator.allocator import Action, AllocatorConfig, BlockView, CachingAllocator, Segment
from ffprof.estimator.allocator.config import UNLIMITED
from ffprof.estimator.replay import Run
from ffprof.estimator.stream import Allocation, Stream
from ffprof.records.files import replacement

_DEFAULT_POOL = (0, 0)
_STATES = {"active": "active_allocated", "inactive": "inactive"}


def snapshot(
    stream: Stream,
    *,
    config: AllocatorConfig | None = None,
    capacity_bytes: int | None = None,
    allowed_bytes: int | None = None,
    include_workspaces: bool = True,
    until: int | None = None,
) -> dict[str, Any]:
    """The snapshot after the event at ``until``, or after the last: segments and all that happened.

    A trace knows no time, so an entry's microsecond is the position of its event. What made a
    block stands in its frames, outermost last: operator, module, phase and category.
    """
    recorder = _Recorder(stream)
    allocator = CachingAllocator(
        capacity_bytes=capacity_bytes,
        allowed_bytes=allowed_bytes,
        config=config,
        observer=recorder.observe,
    )
    run = Run(stream, allocator, include_workspaces=include_workspaces)
    stop = len(stream.events) if until is None else until + 1
    while run.at < stop and run.out_of_memory is None:
        recorder.at = run.at
        run.forward(run.at + 1)
    return {
        "segments": [
            entry for segment in allocator.segments() for entry in recorder.segment(segment)
        ],
        "device_traces": [recorder.trace],
        "allocator_settings": _settings(allocator.config),
        "external_annotations": [],
        "host_segments": [],
        "host_traces": [],
    }


def write_snapshot(path: Path, taken: dict[str, Any]) -> None:
    """Pickle a snapshot; the file is whole or not there.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        with replacement(path) as file:
            pickle.dump(taken, file, protocol=4)
    except OSError as error:
        raise StoreError(
            f"the snapshot cannot be written to {path}: {error.strerror}", "choose another file"
        ) from error


class _Recorder:
    """Turns what the allocator tells into trace entries; ``at`` is the event under way."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.at = 0
        self.trace: list[dict[str, Any]] = []
        self._made: dict[int, list[dict[str, Any]]] = {}
        self._known: dict[tuple[str, ...], list[dict[str, Any]]] = {}

    def observe(self, action: Action, address: int, size: int) -> None:
        """One entry; a free is two, as there is no other stream to wait for."""
        event = self.stream.events[self.at]
        allocation = self.stream.allocations[event if event >= 0 else ~event]
        frames = self.frames(allocation)
        if action in ("segment_alloc", "segment_map"):
            self._made[address] = frames
        actions = ("free_requested", "free_completed") if action == "free" else (action,)
        for name in actions:
            entry = {
                "action": name,
                "device_free" if name == "oom" else "addr": address,
                "size": size,
                "stream": 0,
                "time_us": self.at,
                "frames": frames,
                "compile_context": "",
                "user_metadata": "",
                "pool_id": _DEFAULT_POOL,
            }
            if name == "alloc":
                entry["category"] = allocation.category
            self.trace.append(entry)

    def frames(self, allocation: Allocation) -> list[dict[str, Any]]:
        """What made it, as a stack; equal stacks are one object, which keeps files small."""
        key = (allocation.operator, allocation.module, allocation.phase, allocation.category)
        found = self._known.get(key)
        if found is None:
            kinds = ("operator", "module", "phase", "category")
            found = self._known[key] = [
                {"filename": kind, "line": 0, "name": name}
                for kind, name in zip(kinds, key, strict=True)
                if name
            ]
        return found

    def segment(self, segment: Segment) -> Iterator[dict[str, Any]]:
        """An entry for every unbroken run of memory: one, or several of an expandable segment."""
        for mapped, run in groupby(segment.blocks, lambda block: block.state != "unmapped"):
            if not mapped:
                continue
            blocks = [self._block(block) for block in run]
            active = [block for block in blocks if block["state"] == "active_allocated"]
            used = sum(block["size"] for block in active)
            yield {
                "device": 0,
                "address": blocks[0]["address"],
                "total_size": sum(block["size"] for block in blocks),
                "allocated_size": used,
                "active_size": used,
                "requested_size": sum(block["requested_size"] for block in active),
                "stream": 0,
                "segment_type": "small" if segment.small else "large",
                "segment_pool_id": _DEFAULT_POOL,
                "is_expandable": segment.page_bytes > 0,
                "frames": self._made.get(blocks[0]["address"], []),
                "blocks": blocks,
            }

    def _block(self, block: BlockView) -> dict[str, Any]:
        owned = block.state == "active"
        return {
            "address": block.address,
            "size": block.size_bytes,
            "requested_size": block.requested_bytes,
            "state": _STATES[block.state],
            "frames": self.frames(self.stream.allocations[block.owner]) if owned else [],
        }


def _settings(config: AllocatorConfig) -> dict[str, Any]:
    limit = config.max_split_bytes
    return {
        "PYTORCH_CUDA_ALLOC_CONF": config.text(),
        "max_split_size": -1 if limit == UNLIMITED else limit,
        "garbage_collection_threshold": config.collection_threshold,
        "expandable_segments": config.expandable_segments,
        "roundup_power2_divisions": {
            str(1 << power): steps for power, steps in enumerate(config.divisions)
        },
    }
