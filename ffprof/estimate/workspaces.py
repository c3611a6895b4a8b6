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
    dropped: set[int] = set()
    for number in (e for e in stream.events if e >= 0):
        scratch = allocations[number].scratch
        if isinstance(scratch, MatrixProduct):
            if scratch.thread not in seen and model.blas_bytes:
                allocations[number] = replace(allocations[number], nbytes=model.blas_bytes)
                seen.add(scratch.thread)
                dropped.add(~number)
    events = [0 if e in dropped else e for e in stream.events]
    events = stream.events
    kept: list[int] = []
    for e in events:
        if e not in dropped:
            kept.append(e)
    raise NotImplementedError
