"""A file of somebody's own in which every workload goes wrong in a way of its own."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from beside import SIZE  # another file of the same folder
from torch import nn

from ffprof import register_step, register_workload

print("printed while it is loaded")
print("{", file=sys.stderr)
COUNTER = []


class Net(nn.Module):
    def __init__(self, recipe, backbone_state):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, recipe.classes))

    def forward(self, images):
        return self.net(images)

    def loss(self, images, labels, backward):
        loss = F.cross_entropy(self(images), labels)
        backward(loss)
        return loss

    def accumulate(self, images, labels, weight, backward):
        print("printed in the step")
        return self.loss(images, labels, backward)  # still attached to its graph


register_workload(id="attached")(Net)
register_workload(id="accumulated", accumulates=True, reference="attached")(Net)


@register_workload
class GivesNone(Net):
    def accumulate(self, images, labels, weight, backward):
        self.loss(images, labels, backward)


@register_workload
class GivesFloat(Net):
    def accumulate(self, images, labels, weight, backward):
        return self.loss(images, labels, backward).item()


@register_workload
class GivesVector(Net):
    def accumulate(self, images, labels, weight, backward):
        return self.loss(images, labels, backward).expand(len(labels))


@register_workload
class GivesText(Net):
    def accumulate(self, images, labels, weight, backward):
        return str(self.loss(images, labels, backward))


@register_workload
class GivesNan(Net):
    def accumulate(self, images, labels, weight, backward):
        return self.loss(images, labels, backward) * float("nan")


@register_workload
class BreaksLater(Net):
    steps = 0

    def accumulate(self, images, labels, weight, backward):
        self.steps += 1
        if self.steps == 3:
            raise ValueError("the third\nstep")
        return self.loss(images, labels, backward)


@register_workload
class WrongShape(Net):
    def accumulate(self, images, labels, weight, backward):
        return self.loss(images[:, :1], labels, backward)


@register_workload
class NoParameters(nn.Module):
    def __init__(self, recipe, backbone_state):
        super().__init__()

    def accumulate(self, images, labels, weight, backward): ...


@register_workload(load_backbone="workloads.backbones:initial_state")
class HidesBackbone(Net): ...


@register_workload
def no_module(recipe, backbone_state):
    return "a module"


@register_workload
def counts(recipe, backbone_state):
    """State of the module does not reach the next trial: each is a fresh process."""
    COUNTER.append(1)
    if len(COUNTER) > 1:
        raise RuntimeError(f"built {len(COUNTER)} times in one process")
    return Net(recipe, backbone_state)


@register_workload
class KeepsOnDisk(Net):
    """State on the disk does, and shows: each trial holds more than the last."""

    def __init__(self, recipe, backbone_state):
        super().__init__(recipe, backbone_state)
        file = Path(__file__).with_name("state")
        file.write_text(file.read_text() + "." if file.exists() else ".")
        self.hoard = [torch.zeros(1000 * len(file.read_text()))]


def _made(device):
    model = nn.Linear(4, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(8, 4, device=device), torch.randint(2, (8,), device=device)

    def step():
        print("printed in the step")
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


@register_step(images=8)
def whole(device):
    return _made(device)


@register_step
def undeclared(device):
    step = _made(device)
    return lambda: step().item()


@register_step(images=8)
def silent(device):
    step = _made(device)
    return lambda: step() and None


@register_step(images=8)
def not_a_step(device):
    return 3


@register_step(images=8)
def vector(device):
    step = _made(device)
    return lambda: step().expand(3)


@register_step(images=8, id="runs-out")
def few(device):
    step, left = _made(device), iter(range(3))

    def once():
        next(left)
        return step()

    return once


@register_step(images=8)
def leaves(device):
    sys.exit(0)
