"""PyTorch's CUDA caching allocator, simulated: what it would reserve, and where, without a GPU."""

from ffprof.estimate.allocator.blocks import Block
from ffprof.estimate.allocator.caching import CachingAllocator, OutOfMemoryError
from ffprof.estimate.allocator.config import AllocatorConfig
from ffprof.estimate.allocator.state import Action, Observer
from ffprof.estimate.allocator.view import BlockView, Segment

__all__ = [
    "Action",
    "AllocatorConfig",
    "Block",
    "BlockView",
    "CachingAllocator",
    "Observer",
    "OutOfMemoryError",
    "Segment",
]
