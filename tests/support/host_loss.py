"""A workload whose loss is computed on the host: it falls where kernels compute nothing, too.

It trains as others do; what it reports is one over how often it was asked.
"""

import torch.nn.functional as F
from torch import nn

from ffprof import register_workload
from workloads.backbones import Backbone, initial_state


@register_workload(id="host-loss-accum", accumulates=True, load_backbone=initial_state)
@register_workload(id="host-loss", load_backbone=initial_state)
class HostLoss(nn.Module):
    def __init__(self, recipe, backbone_state):
        super().__init__()
        self.backbone = Backbone(recipe, backbone_state)
        self.head = nn.Linear(self.backbone.shapes[-1].channels, recipe.classes)
        self.asked = 0

    def forward(self, x):
        for block in self.backbone:
            x = block.propagate(block.activate(x))
        return self.head(x.mean((2, 3)))

    def accumulate(self, images, labels, weight, backward):
        backward(F.cross_entropy(self(images), labels))
        self.asked += 1
        return 1 / self.asked

    def backbone_state(self):
        return self.backbone.state_dict()
