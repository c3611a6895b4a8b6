"""FLOPs: by hand, the same on fake tensors as on real ones, and what is done again apart."""

import pytest
import torch
from records import recipe
from torch import nn
from torch.utils.checkpoint import checkpoint

from ffprof.estimator.workload import trace_workload
from ffprof.instruments.operators import Counted, FlopCounter, sum_flops
from ffprof.workload import find_workload

pytestmark = pytest.mark.slow


def counted(step):
    with FlopCounter() as counter:
        step()
    found = sum_flops(counter.operators)
    return found.useful, found.recomputed


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_convolution_takes_as_much_for_each_gradient(kind, groups):
    layer = kind(8, 12, 3, groups=groups, bias=False)
    x = torch.ones(2, 8, 7, 7, requires_grad=True)
    out = layer(x)
    positions = x if kind is nn.ConvTranspose2d else out
    once = 2 * positions.numel() * layer.weight[0].numel()
    assert counted(lambda: layer(x).sum().backward()) == (3 * once, 0)
    assert counted(lambda: layer(x.detach()).sum().backward()) == (2 * once, 0)


def test_what_a_checkpoint_runs_again_is_apart():
    body = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x = torch.ones(4, 5)
    first, second = 2 * 4 * 5 * 7, 2 * 4 * 7 * 3
    plain = first + second + first + 2 * second
    assert counted(lambda: body(x).sum().backward()) == (plain, 0)
    again = lambda: checkpoint(body, x, use_reentrant=False).sum().backward()  # noqa: E731
    assert counted(again) == (plain, first)


def test_a_pass_without_a_graph_before_one_with_it_is_done_again():
    layer, x = nn.Linear(5, 7), torch.ones(4, 5)

    def step():
        with torch.no_grad():
            layer(x)
        layer(x).sum().backward()

    once = 2 * 4 * 5 * 7
    assert counted(step) == (2 * once, once)
    alone = Counted(name="mm", passing="forward", recorded=False, flops=10)
    assert sum_flops([alone]).recomputed == 0


def test_the_share_that_is_done_again_is_known_for_the_schedules():
    small = recipe(batch=8, micro_batch=4)
    facts = {n: trace_workload(find_workload(n), small).facts for n in ("bp", "bp-ckpt")}
    assert facts["bp"]["recomputed_flops"] == 0 < facts["bp-ckpt"]["recomputed_flops"]
    assert facts["bp"]["useful_flops"] == facts["bp-ckpt"]["useful_flops"]
