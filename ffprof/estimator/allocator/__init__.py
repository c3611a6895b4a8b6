"""PyTorch's CUDA caching allocator, simulated: what it would reserve, and where, without a GPU."""

from ffprof.estimator.allocator.blocks import Block
from ffprof.estimator.allocator.caching import CachingAllocator, OutOfMemoryError
from ffprof.estimator.allocator.config import AllocatorConfig, release_of
from ffprof.estimator.allocator.state import Action, Observer
from ffprof.estimator.allocator.view import BlockView, Segment

__all__ = [
    "Action",
    "AllocatorConfig",
    "Block",
    "BlockView",
    "CachingAllocator",
    "Observer",
    "OutOfMemoryError",
    "Segment",
    "release_of",
]
