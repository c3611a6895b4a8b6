"""Workloads that misbehave, registered as a third party's would be."""

import dataclasses
import os
import time
from pathlib import Path

from ffprof.workload import find_workload


def _well_behaved(recipe, state):
    return find_workload("bp").load()(recipe, state)


def _crash(recipe, state):
    raise RuntimeError("the method's own mistake\nwith a second line")


def _segfault(recipe, state):
    os.kill(os.getpid(), 11)


def _hang(recipe, state):
    time.sleep(600)


def _out_of_memory(recipe, state):
    import torch

    return torch.empty(1 << 60)


def _exit(recipe, state):
    os._exit(7)


def _silent(recipe, state):
    raise SystemExit(0)


def _with_worker(recipe, state):
    """Starts a process that would outlive it, and writes down its number."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    with Path(os.environ["HOSTILE_PIDS"]).open("a") as file:
        file.write(f"{child.pid}\n{os.getpid()}\n")
    time.sleep(600)
    return _well_behaved(recipe, state)


def _other_weights(recipe, state):
    import torch

    module = _well_behaved(recipe, state)
    with torch.no_grad():
        next(iter(module.backbone_state().values())).mul_(2)
    return module


def _changes_flags(recipe, state):
    import torch

    module = _well_behaved(recipe, state)
    accumulate = module.accumulate

    def sly(*args):
        torch.backends.cudnn.benchmark = not recipe.flags.cudnn_benchmark
        return accumulate(*args)

    module.accumulate = sly
    return module


def _diverges(recipe, state):
    module = _well_behaved(recipe, state)
    accumulate = module.accumulate
    module.accumulate = lambda *args: accumulate(*args) * float("nan")
    return module


def _learns_nothing(recipe, state):
    """Hands over a loss without gradients' worth: it never falls."""
    module = _well_behaved(recipe, state)

    def still(images, labels, weight, backward):
        loss = module(images).sum() * 0
        backward(loss)
        return loss.detach() + 2.3

    module.accumulate = still
    return module


def _no_backward(recipe, state):
    """Claims to learn and computes nothing."""
    import torch

    module = _well_behaved(recipe, state)
    module.accumulate = lambda *args: torch.tensor(1.0)
    return module


def _part_of_the_batch(recipe, state):
    module = _well_behaved(recipe, state)
    accumulate = module.accumulate
    module.accumulate = lambda x, y, *rest: accumulate(x[:2], y[:2], *rest)
    return module


def _own_precision(recipe, state):
    import torch

    module = _well_behaved(recipe, state)
    accumulate = module.accumulate

    def sly(*args):
        with torch.autocast("cpu", torch.bfloat16):
            return accumulate(*args)

    module.accumulate = sly
    return module


def _own_optimizer(recipe, state):
    import torch

    module = _well_behaved(recipe, state)
    accumulate, optimizer = module.accumulate, torch.optim.SGD(module.parameters(), lr=0.01)

    def sly(*args):
        loss = accumulate(*args)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    module.accumulate = sly
    return module


def _own_step_behind(recipe, state):
    """Steps where no version counter sees it."""
    module = _well_behaved(recipe, state)
    accumulate = module.accumulate

    def sly(*args):
        loss = accumulate(*args)
        for parameter in module.parameters():
            parameter.data = parameter.data - 0.01 * parameter.grad
        return loss

    module.accumulate = sly
    return module


def _own_backward(recipe, state):
    """The likeliest mistake of a beginner."""
    module = _well_behaved(recipe, state)
    accumulate = module.accumulate
    module.accumulate = lambda x, y, weight, backward: accumulate(
        x, y, weight, lambda loss: loss.backward()
    )
    return module


def _parameters_become_nan(recipe, state):
    module = _well_behaved(recipe, state)
    accumulate = module.accumulate
    module.accumulate = lambda x, y, weight, backward: accumulate(
        x, y, weight, lambda loss: backward(loss * float("nan"))
    )
    return module


def _edges_of_the_batch(recipe, state):
    import torch

    module = _well_behaved(recipe, state)
    accumulate = module.accumulate

    def sly(x, y, *rest):
        edges = torch.tensor([0, len(x) - 1])
        return accumulate(x[edges], y[edges], *rest)

    module.accumulate = sly
    return module


def _large_gradients(recipe, state):
    module = _well_behaved(recipe, state)
    accumulate = module.accumulate

    def loud(images, labels, weight, backward):
        return accumulate(images, labels, weight, lambda loss: backward(loss * 3000))

    module.accumulate = loud
    return module


def _foreign_backbone(recipe, state):
    module = _well_behaved(recipe, state)
    module.backbone_state = lambda: state
    return module


def _hoards(recipe, state):
    """Keeps a megabyte where neither parameters nor buffers show it."""
    import torch

    module = _well_behaved(recipe, state)
    module.hoard = [torch.zeros(1 << 18)]
    return module


def _changes_recipe(recipe, state):
    recipe.__dict__["batch"] = 10 * recipe.batch
    recipe.__dict__["steps"] = 1
    return _well_behaved(recipe, state)


def _unreadable(recipe, state):
    raise RuntimeError("caf\u00e9 \x1b[31mred\x1b[0m")


def _surrogate(recipe, state):
    raise RuntimeError("half a character \ud800")


def _daemon(recipe, state):
    """Starts a process that leaves the trial's group, and a thread that never ends."""
    import subprocess
    import threading

    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with Path(os.environ["HOSTILE_PIDS"]).open("a") as file:
        file.write(f"{child.pid}\n")
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    return _well_behaved(recipe, state)


def _lingers(recipe, state):
    """Does the same, and hangs."""
    _daemon(recipe, state)
    time.sleep(600)


def _refuses(recipe):
    return "it needs a full moon"


def _make(name, build, **changes):
    model = find_workload("bp")
    return dataclasses.replace(
        model,
        id=name,
        family="hostile",
        reference="",
        load=_Loader(build),
        core=False,
        rank=500,
        summary="misbehaves",
        **changes,
    )


class _Loader:
    def __init__(self, build):
        self.build = build

    def __call__(self):
        return self.build


BUILDERS = {
    "crash": _crash,
    "segfault": _segfault,
    "hang": _hang,
    "out-of-memory": _out_of_memory,
    "exit": _exit,
    "silent": _silent,
    "with-worker": _with_worker,
    "other-weights": _other_weights,
    "changes-flags": _changes_flags,
    "diverges": _diverges,
    "learns-nothing": _learns_nothing,
    "no-backward": _no_backward,
    "part-of-the-batch": _part_of_the_batch,
    "own-precision": _own_precision,
    "own-optimizer": _own_optimizer,
    "own-step-behind": _own_step_behind,
    "edges-of-the-batch": _edges_of_the_batch,
    "large-gradients": _large_gradients,
    "own-backward": _own_backward,
    "parameters-become-nan": _parameters_become_nan,
    "foreign-backbone": _foreign_backbone,
    "hoards": _hoards,
    "changes-recipe": _changes_recipe,
    "unreadable": _unreadable,
    "surrogate": _surrogate,
    "daemon": _daemon,
    "lingers": _lingers,
}
for _name, _build in BUILDERS.items():
    globals()[_name.replace("-", "_").upper()] = _make(_name, _build)
REFUSES = _make("refuses", _well_behaved, check=_refuses)
BAD_CHECK = _make("bad-check", _well_behaved, check=lambda recipe: recipe.no_such_field)
OWN_BACKBONE = _make("own-backbone", _other_weights, load_backbone=None)
