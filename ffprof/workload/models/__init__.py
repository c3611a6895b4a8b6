"""Models by the names that their libraries know them by, with a standard training step.

``hf:`` is a model of transformers, built from its config without weights, ``timm:`` and
``torchvision:`` one of these. Their libraries, and torch, are imported in children only.
"""

from ffprof.workload.models.description import ModelDescription
from ffprof.workload.models.name import ModelName, is_model, may_be_model, parse_model

__all__ = ["ModelDescription", "ModelName", "is_model", "may_be_model", "parse_model"]
