"""Provisional."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ffprof.estimate.stream import MatrixProduct, Stream


@dataclass(frozen=True, kw_only=True)
class WorkspaceModel:
    """Provisional."""

    blas_bytes: int = 8_519_680

    @classmethod
    def none(cls) -> WorkspaceModel:
        """No workspaces."""
        return cls(blas_bytes=0)


def resolve(stream: Stream, model: WorkspaceModel) -> Stream:
    """Provisional."""
    seen: set[str] = set()
    allocations = list(stream.allocations)
    events = list(stream.events)
    for place, number in enumerate(stream.events):
        if number < 0:
            continue
        scratch = allocations[number].scratch
        if isinstance(scratch, MatrixProduct) and scratch.thread not in seen and model.blas_bytes:
            seen.add(scratch.thread)
            allocations[number] = replace(allocations[number], nbytes=model.blas_bytes)
            events[place + 1] = ~len(allocations)
            allocations.append(replace(allocations[number], nbytes=0))
    return replace(stream, allocations=allocations, events=events)
