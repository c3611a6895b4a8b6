"""What a method is: its protocol, its torch-free description, and the registry.

What a package with workloads of its own needs is here; nothing of it imports torch.
"""

from ffprof.records.recipe import Claim, Recipe, Reference
from ffprof.workload.description import (
    BackboneSource,
    Builder,
    Description,
    Preset,
    find_preset,
    find_workload,
    preset_names,
    workload_names,
)
from ffprof.workload.protocol import Backward, Carried, Trainable
from ffprof.workload.settings import Setting

__all__ = [
    "BackboneSource",
    "Backward",
    "Builder",
    "Carried",
    "Claim",
    "Description",
    "Preset",
    "Recipe",
    "Reference",
    "Setting",
    "Trainable",
    "find_preset",
    "find_workload",
    "preset_names",
    "workload_names",
]
