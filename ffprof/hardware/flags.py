"""Process-wide switches: set from the recipe, read back, and compared.

A workload that changes one of them while it runs has changed the conditions for itself alone;
the trial compares before and after, and refuses it.
"""

from __future__ import annotations

import os

import torch

from ffprof.hardware.environment import ALLOCATOR_VARIABLES
from ffprof.records.recipe import Recipe


def apply_flags(recipe: Recipe) -> None:
    """Set every switch of the recipe in this process."""
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    torch.set_default_dtype(torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = recipe.flags.tf32
    torch.backends.cudnn.allow_tf32 = recipe.flags.tf32
    torch.backends.cudnn.benchmark = recipe.flags.cudnn_benchmark
    torch.backends.cudnn.deterministic = recipe.flags.deterministic
    if recipe.flags.deterministic != torch.are_deterministic_algorithms_enabled():
        # Not called for nothing: it imports the whole compiler, which takes over a second.
        torch.use_deterministic_algorithms(recipe.flags.deterministic)


def flag_changes(before: dict[str, str | int | bool]) -> str:
    """Which switches are no longer as they were, in words; empty if all are."""
    now = read_flags()
    return ", ".join(f"{k}: {before[k]} -> {now[k]}" for k in before if before[k] != now[k])


def read_flags() -> dict[str, str | int | bool]:
    """The switches as they are now, for the ledger."""
    return {
        "threads": torch.get_num_threads(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad_enabled": torch.is_grad_enabled(),
        "allocator_conf": " ".join(
            f"{name}={os.environ[name]}" for name in ALLOCATOR_VARIABLES if name in os.environ
        ),
    }
