"""What a method is: its protocol, its torch-free description, and the registry.

What a package with workloads of its own needs is here; nothing of it imports torch.
"""

from ffprof.records.recipe import Claim, Recipe, Reference
from ffprof.records.statement import (
    Accuracy,
    Command,
    Cost,
    Depth,
    Granularity,
    Lead,
    Paper,
    Reversal,
    Statement,
    Unsupported,
    Widening,
)
from ffprof.workload.description import (
    BackboneSource,
    Builder,
    Description,
    Preset,
    find_paper,
    find_preset,
    find_workload,
    paper_names,
    preset_names,
    workload_names,
)
from ffprof.workload.protocol import Backward, Carried, Trainable
from ffprof.workload.settings import Setting

__all__ = [
    "Accuracy",
    "BackboneSource",
    "Backward",
    "Builder",
    "Carried",
    "Claim",
    "Command",
    "Cost",
    "Depth",
    "Description",
    "Granularity",
    "Lead",
    "Paper",
    "Preset",
    "Recipe",
    "Reference",
    "Reversal",
    "Setting",
    "Statement",
    "Trainable",
    "Unsupported",
    "Widening",
    "find_paper",
    "find_preset",
    "find_workload",
    "paper_names",
    "preset_names",
    "workload_names",
]
