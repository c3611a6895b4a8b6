import pytest
import torch
import torch.nn.functional as F
from records import recipe
from torch import nn

from ffprof.errors import RefusedError
from ffprof.harness.optimizer import StepAtEnd, StepInBackward
from ffprof.harness.step import TrainingStep, set_norm_momentum

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


def step_of(net, **changes):
    made = recipe(**changes)
    return TrainingStep(net, StepAtEnd(net, made, "cpu"), made, CPU)


def batch(count=8):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (count,), generator=generator)
    return torch.randn(count, 3, 4, 4, generator=generator), labels


def parts(sizes):
    images, labels = batch(sum(sizes))
    return list(zip(images.split(sizes), labels.split(sizes), strict=True))


def grads_after(sizes):
    torch.manual_seed(0)
    net = Net().double()
    step = step_of(net)
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
    step = step_of(net)
    before = [p.clone() for p in net.parameters()]
    loss = step(parts([4, 4]))
    assert not loss.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert {int(s["step"]) for s in step.update.optimizer.state.values()} == {1}
    assert [s[:2] for s in net.seen] == [((4, 3, 4, 4), 0.5)] * 2


def test_micro_batches_are_copies_in_the_recipes_memory_format():
    images = torch.randn(8, 1, 4, 4).expand(-1, 3, -1, -1)
    for name, contiguous in (("contiguous", True), ("channels_last", False)):
        net = Net()
        step_of(net, memory_format=name).feed(images, torch.zeros(8, dtype=torch.long))
        assert net.seen[0][3] is contiguous


def test_bf16_computes_in_bf16_and_keeps_gradients_in_float32():
    net = Net()
    step_of(net, precision="bf16").feed(*batch())
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
    step_of(net, precision="bf16").feed(*batch())
    assert seen == [True, False]


def test_an_empty_batch_is_an_error():
    net = Net()
    with pytest.raises(ValueError, match="at least one"):
        step_of(net)([])


def test_declared_parameters_are_not_decayed():
    net = Net()
    optimizer = StepAtEnd(net, recipe(optimizer={"weight_decay": 0.1}), "cpu").optimizer
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(net.alpha)] == 0.0
    assert decay[id(net.net[1].weight)] == 0.1
    assert len(decay) == 3
    assert optimizer.param_groups[0]["foreach"] is True


def test_frozen_parameters_are_not_optimized():
    net = Net()
    net.net[1].weight.requires_grad_(False)
    optimizer = StepAtEnd(net, recipe(optimizer={"name": "sgd"}), "cpu").optimizer
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


class LocalNet(nn.Module):
    """Two layers, each with a loss of its own: two backward passes a micro-batch."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(48, 10), nn.Linear(10, 10)

    def accumulate(self, images, labels, weight, backward):
        hidden = self.first(images.flatten(1))
        loss = F.cross_entropy(hidden, labels)
        backward(loss)
        last = F.cross_entropy(self.second(hidden.detach()), labels)
        backward(last)
        return (loss + last).detach()

    def no_weight_decay(self):
        return frozenset()


def trained(net, update, made, steps=3):
    step = TrainingStep(net, update, made, CPU)
    for _ in range(steps):
        step(parts([8]))
    return step, [p.detach().clone() for p in net.parameters()]


def test_stepping_inside_backward_gives_the_same_weights_and_holds_no_gradients():
    made = recipe(optimizer={"lr": 0.1, "weight_decay": 0.3})
    for kind in (Net, LocalNet):
        torch.manual_seed(0)
        whole, inside = kind(), kind()
        inside.load_state_dict(whole.state_dict())
        _, wanted = trained(whole, StepAtEnd(whole, made, "cpu"), made)
        step, got = trained(inside, StepInBackward(inside, made.optimizer), made)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
        assert all(p.grad is None for p in inside.parameters())
        with step.update.hold():
            step.feed(*batch())
        assert all(p.grad is not None for p in inside.parameters())
        assert all(torch.equal(a, p) for a, p in zip(got, inside.parameters(), strict=True))
        sizes = [s.nbytes for s in step.update.state_tensors()]
        assert sum(sizes) >= 2 * sum(p.nbytes for p in inside.parameters())


@pytest.mark.parametrize("sizes", [[8], [4, 4]])
def test_fp16_scales_every_backward_pass_and_unscales_once(sizes):
    torch.manual_seed(0)
    exact, low = LocalNet(), LocalNet()
    low.load_state_dict(exact.state_dict())
    step_of(exact, optimizer={"name": "sgd", "lr": 1.0, "weight_decay": 0.0})(parts(sizes))
    step = step_of(low, precision="fp16", optimizer={"name": "sgd", "lr": 1.0, "weight_decay": 0.0})
    seen = []
    low.first.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.norm()))
    loss = step(parts(sizes))
    assert torch.isfinite(loss)
    # What backward leaves is 65536 times as large; what is subtracted is not.
    assert seen[0] > 1000
    for a, b in zip(low.parameters(), exact.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)
    assert step.update.skipped_steps() == 0


def test_fp16_leaves_out_steps_whose_gradients_are_not_finite_and_counts_them():
    net = LocalNet()
    before = [p.clone() for p in net.parameters()]
    step = step_of(net, precision="fp16")
    images, labels = batch()
    for _ in range(2):
        step([(torch.full_like(images, float("inf")), labels)])
    assert step.update.skipped_steps() == 2
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    step([(images, labels)])
    assert step.update.skipped_steps() == 2
    assert not torch.equal(before[0], next(net.parameters()))
    assert StepAtEnd(net, recipe(), "cpu").skipped_steps() is None


def test_a_loss_scale_that_has_run_out_is_no_error():
    images, labels = batch()
    step = step_of(LocalNet(), precision="fp16")
    for _ in range(170):
        step([(torch.full_like(images, float("inf")), labels)])
    assert 160 <= step.update.skipped_steps() <= 170


def test_carried_gradients_join_the_backward_pass():
    """backward(loss, [(g, d)]) is backward of loss + <g, d>, weights being in d already."""
    torch.manual_seed(0)
    found = []
    for carried in (True, False):
        torch.manual_seed(0)
        net = LocalNet().double()
        delta = torch.randn(8, 10, dtype=torch.float64)

        def accumulate(images, labels, weight, backward, net=net, delta=delta, carried=carried):
            hidden = net.first(images.flatten(1))
            loss = F.cross_entropy(net.second(hidden), labels)
            if carried:
                backward(loss, [(hidden, delta)])
            else:
                backward(loss + (hidden * delta).sum() / weight)
            return loss.detach()

        net.accumulate = accumulate
        images, labels = batch(16)
        step_of(net, batch=16).feed(images[:8].double(), labels[:8])
        found.append([p.grad for p in net.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(*found, strict=True))


def test_a_module_without_parameters_is_refused():
    class Empty(nn.Module):
        def no_weight_decay(self):
            return frozenset()

    with pytest.raises(RefusedError, match="no parameter to train"):
        StepAtEnd(Empty(), recipe(), "cpu")
