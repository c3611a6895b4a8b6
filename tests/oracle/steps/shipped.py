"""Every shipped workload, in both types, through the harness's own step."""

import copy
from functools import cache

import torch
from torch._guards import detect_fake_mode

from ffprof.estimator.tracing.device import fake_copy
from ffprof.harness.data.batches import cut
from ffprof.harness.optimizer import make_update
from ffprof.harness.step import TrainingStep, build_module
from ffprof.workload import find_preset, find_workload, workload_names
from steps.registry import add


class Shipped:
    """The step of a workload; its module is built on the host first, as for an estimate."""

    def __init__(self, name, precision):
        self.description = find_workload(name)
        preset = find_preset("smoke").recipe
        self.recipe = preset.model_copy(update={"precision": precision, "batch": 32})

    @cache  # noqa: B019
    def prepare(self):
        return build_module(self.description, self.recipe, torch.device("cpu"))[0]

    def build(self, device):
        recipe, traced = self.recipe, detect_fake_mode() is not None
        module = fake_copy(self.prepare()) if traced else copy.deepcopy(self.prepare())
        module.to(device)
        in_backward = self.description.steps_in_backward
        update = make_update(module, recipe, device.type, in_backward=in_backward)
        step = TrainingStep(module, update, recipe, device)
        shape = (recipe.batch, recipe.channels, recipe.image_size, recipe.image_size)
        images, labels = torch.randn(shape), torch.randint(0, recipe.classes, shape[:1])
        parts = cut(images, labels, self.description.micro_batch(recipe))

        def taken():
            step(parts)

        return taken


for _name in workload_names():
    for _precision in ("fp32", "bf16"):
        _one = Shipped(_name, _precision)
        add(f"{_name} {_precision}", _one.build, prepare=_one.prepare)
