"""What an optimizer step does and holds, and how fast a machine does it; free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Work:
    """What operators do: convolutions and products by FLOPs, the others by bytes touched."""

    flops: int = 0
    touched_bytes: int = 0
    operators: int = 0

    def plus(self, other: Work, times: int = 1) -> Work:
        """This and ``times`` the other."""
        return Work(
            flops=self.flops + times * other.flops,
            touched_bytes=self.touched_bytes + times * other.touched_bytes,
            operators=self.operators + times * other.operators,
        )

    def minus(self, other: Work) -> Work:
        """What this does beyond the other."""
        return self.plus(other, times=-1)


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """The shape of a convolution, and the FLOPs of its forward pass."""

    flops: int
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class Traced:
    """One optimizer step of a workload."""

    live_peak_bytes: int
    work: Work
    heaviest: Convolution | None
    build_seconds: float


@dataclass(frozen=True, kw_only=True)
class Unforecast:
    """Why there is no forecast."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What this machine reached; ``batch_seconds`` is what one process took to load a batch."""

    flops_per_second: float
    bytes_per_second: float
    operator_seconds: float
    data_seconds: float
    batch_seconds: float = 0.0
    inside_seconds: float = 0.0

    def seconds(self, work: Work) -> float:
        """Of one step."""
        return (
            work.flops / self.flops_per_second
            + work.touched_bytes / self.bytes_per_second
            + work.operators * self.operator_seconds
        )
