import pytest
import torch
import torch.nn.functional as F
from records import recipe
from torch import nn

from ffprof.audit.step import TrainingStep, make_optimizer, set_norm_momentum
from ffprof.recipe import Optimizer

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 10))
        self.alpha = nn.Parameter(torch.ones(()))
        self.seen = []

    def accumulate(self, images, labels, weight, backward):
        logits = self.net(images) * self.alpha
        self.seen.append((tuple(images.shape), weight, logits.dtype, images.is_contiguous()))
        loss = F.cross_entropy(logits, labels)
        backward(loss)
        return loss.detach()

    def no_weight_decay(self):
        return {"alpha"}


def batch(count=8):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (count,), generator=generator)
    return torch.randn(count, 3, 4, 4, generator=generator), labels


def parts(sizes):
    images, labels = batch(sum(sizes))
    return list(zip(images.split(sizes), labels.split(sizes), strict=True))


def grads_after(sizes, chosen=None):
    torch.manual_seed(0)
    net = Net().double()
    step = TrainingStep(net, make_optimizer(net, Optimizer()), chosen or recipe(), CPU)
    losses = [step.feed(x.double(), y) for x, y in parts(sizes)]
    return sum(losses), [p.grad for p in net.parameters()]


@pytest.mark.parametrize("sizes", [[4, 4], [2, 2, 2, 2], [5, 3], [1] * 8])
def test_weighted_micro_batches_make_the_full_gradient_and_loss(sizes):
    loss, wanted = grads_after([8])
    got_loss, got = grads_after(sizes)
    assert got_loss.item() == pytest.approx(loss.item(), abs=1e-14)
    for a, b in zip(got, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-13, atol=1e-15)


def test_one_call_is_one_optimizer_step_and_leaves_no_gradients():
    net = Net()
    optimizer = make_optimizer(net, Optimizer())
    step = TrainingStep(net, optimizer, recipe(), CPU)
    before = [p.clone() for p in net.parameters()]
    loss = step(parts([4, 4]))
    assert not loss.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert {int(s["step"]) for s in optimizer.state.values()} == {1}
    assert [s[:2] for s in net.seen] == [((4, 3, 4, 4), 0.5)] * 2


def test_micro_batches_are_copies_in_the_recipes_memory_format():
    images = torch.randn(8, 1, 4, 4).expand(-1, 3, -1, -1)
    for name, contiguous in (("contiguous", True), ("channels_last", False)):
        net = Net()
        step = TrainingStep(net, make_optimizer(net, Optimizer()), recipe(memory_format=name), CPU)
        step.feed(images, torch.zeros(8, dtype=torch.long))
        assert net.seen[0][3] is contiguous


def test_bf16_computes_in_bf16_and_keeps_gradients_in_float32():
    net = Net()
    step = TrainingStep(net, make_optimizer(net, Optimizer()), recipe(precision="bf16"), CPU)
    step.feed(*batch())
    assert net.seen[0][2] == torch.bfloat16
    assert all(p.grad.dtype == torch.float32 for p in net.parameters())


def test_the_backward_pass_runs_outside_autocast():
    seen = []

    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(torch.is_autocast_enabled("cpu"))
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            seen.append(torch.is_autocast_enabled("cpu"))
            return g

    class Spied(Net):
        def accumulate(self, images, labels, weight, backward):
            loss = F.cross_entropy(Spy.apply(self.net(images)), labels)
            backward(loss)
            return loss.detach()

    net = Spied()
    step = TrainingStep(net, make_optimizer(net, Optimizer()), recipe(precision="bf16"), CPU)
    step.feed(*batch())
    assert seen == [True, False]


def test_an_empty_batch_is_an_error():
    net = Net()
    with pytest.raises(ValueError, match="at least one"):
        TrainingStep(net, make_optimizer(net, Optimizer()), recipe(), CPU)([])


def test_declared_parameters_are_not_decayed():
    net = Net()
    optimizer = make_optimizer(net, Optimizer(weight_decay=0.1))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(net.alpha)] == 0.0
    assert decay[id(net.net[1].weight)] == 0.1
    assert len(decay) == 3
    assert optimizer.param_groups[0]["foreach"] is True


def test_frozen_parameters_are_not_optimized():
    net = Net()
    net.net[1].weight.requires_grad_(False)
    optimizer = make_optimizer(net, Optimizer(name="sgd"))
    assert isinstance(optimizer, torch.optim.SGD)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 2


@pytest.mark.parametrize("updates", [1, 4, 16])
def test_running_statistics_have_the_same_horizon_under_accumulation(updates):
    """Fed the same constant, m small updates move the running mean as far as one large one."""
    whole, cut_up = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    set_norm_momentum(cut_up, updates)
    value = torch.full((4, 3), 5.0) + torch.randn(4, 3) * 1e-6
    whole(value)
    for _ in range(updates):
        cut_up(value)
    assert torch.allclose(whole.running_mean, cut_up.running_mean, rtol=1e-5)


def test_cumulative_averages_are_left_alone():
    norm = nn.BatchNorm1d(3, momentum=None)
    set_norm_momentum(norm, 4)
    assert norm.momentum is None
