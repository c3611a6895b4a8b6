"""Training steps on which PyTorch's CUDA code and the tracer are compared, by families."""

from steps import decisions, loops, operators, refused, reported, shipped, text, vision  # noqa: F401
from steps.registry import STEPS, Step

__all__ = ["STEPS", "Step"]
