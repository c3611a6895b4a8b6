import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from records import recipe

from ffprof.audit.data import load_digits
from ffprof.audit.matching import build_matched
from ffprof.workload import find_workload
from workloads.architecture import block_shapes, check_backbone, check_local, patch_counts
from workloads.backbones import Backbone, Block, initial_state
from workloads.goodness import EPSILON, T_MAX, T_MIN, LocalHead, goodness, patch_energies


def channels(**changes):
    return [s.channels for s in block_shapes(recipe(**changes))]


def test_backbones_are_the_documented_stacks():
    assert channels() == [64, 128, 256, 256, 512, 512]
    assert channels(width=0.25) == [16, 32, 64, 64, 128, 128]
    assert channels(backbone="vgg11", image_size=32) == [64, 128, 256, 256, 512, 512, 512, 512]
    assert len(channels(backbone="vgg16", image_size=32)) == 13
    assert channels(backbone="flat-5-7") == [7] * 5
    shapes = block_shapes(recipe())
    assert [s.size for s in shapes] == [16, 8, 4, 4, 2, 2]
    assert [s.pool for s in shapes] == [True, True, False, True, False, True]
    assert [s.in_channels for s in shapes] == [3, 64, 128, 256, 256, 512]


def test_patches_follow_their_formula():
    assert patch_counts(block_shapes(recipe())) == [2, 2, 1, 1, 1, 1]
    assert patch_counts(block_shapes(recipe(backbone="flat-5-7"))) == [1] * 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "resnet999"}, "unknown backbone"),
        ({"backbone": "flat-0-8"}, "unknown backbone"),
        ({"backbone": "flat-٣-8"}, "unknown backbone"),
        ({"backbone": "vgg11"}, "multiple of 32"),
        ({"image_size": 20}, "multiple of 16"),
    ],
)
def test_what_cannot_be_built_is_said(changes, said):
    assert said in check_backbone(recipe(**changes))
    assert said in check_local(recipe(**changes))


def test_batch_statistics_need_two_images():
    alone = {"micro_batch": 1}
    assert "--norm group" in check_local(recipe(**alone))
    assert check_local(recipe(norm="group", **alone)) is None
    assert check_backbone(recipe(**alone)) is None


@settings(max_examples=25)
@given(
    st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 4]), st.sampled_from([4, 8]),
)  # fmt: skip
def test_energies_are_root_mean_squares_of_patches_and_so_are_their_gradients(n, c, p, size):
    a = torch.randn(n, c, size, size, dtype=torch.float64).relu().requires_grad_()
    got = patch_energies(a, p)
    pooled = F.adaptive_avg_pool2d(a * a, p)
    wanted = (pooled + EPSILON).sqrt()
    assert torch.allclose(got, wanted, rtol=1e-12)
    weight = torch.randn_like(got)
    (ours,) = torch.autograd.grad((got * weight).sum(), a, retain_graph=True)
    (theirs,) = torch.autograd.grad((wanted * weight).sum(), a)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_energy_gradients_pass_gradcheck():
    a = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: patch_energies(x, 2), (a,))


def test_energies_of_low_precision_are_float32():
    assert patch_energies(torch.rand(1, 1, 2, 2, dtype=torch.bfloat16), 1).dtype == torch.float32


def test_a_dead_channel_has_a_finite_gradient():
    a = torch.zeros(2, 3, 4, 4, requires_grad=True)
    goodness(a, 2).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_goodness_is_standardised_per_sample():
    g = goodness(torch.rand(5, 8, 4, 4, dtype=torch.float64), 2)
    assert g.shape == (5, 32)
    assert torch.allclose(g.mean(1), torch.zeros(5, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(g.var(1, unbiased=False), torch.ones(5, dtype=torch.float64), atol=1e-2)


def test_the_temperature_starts_in_the_middle_and_stays_in_range():
    head = LocalHead(64, 10)
    assert head.temperature().item() == pytest.approx((T_MIN + T_MAX) / 2)
    for alpha, wanted in ((-50.0, T_MIN), (50.0, T_MAX)):
        torch.nn.init.constant_(head.alpha, alpha)
        assert head.temperature().item() == pytest.approx(wanted)
    assert [n for n, _ in head.named_parameters()] == ["alpha"]
    assert head.projection.std().item() == pytest.approx(1 / math.sqrt(64), rel=0.15)
    assert not head.projection.requires_grad


def test_path_two_normalises_channels_at_each_position():
    block = Block(block_shapes(recipe())[0], "batch")
    x = block.propagate(torch.rand(2, 64, 16, 16))
    assert x.shape == (2, 64, 8, 8)
    assert torch.allclose(x.mean(1), torch.zeros(2, 8, 8), atol=1e-5)
    assert torch.allclose(x.var(1, unbiased=False), torch.ones(2, 8, 8), atol=1e-2)


def test_initial_weights_are_kaiming_and_the_same_in_every_norm():
    batch, group = initial_state(recipe()), initial_state(recipe(norm="group"))
    for name, value in group.items():
        assert torch.equal(value, batch[name])
    weight = batch["blocks.2.conv.weight"]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    assert len(list(Backbone(recipe(), batch))) == 6


def test_prediction_rules():
    made = recipe(width=0.125)
    module, _ = build_matched(find_workload("dtg-ff"), made)
    images = torch.randn(4, 3, 16, 16)
    for rule in find_workload("dtg-ff").rules:
        assert module.predict(images, rule).shape == (4, 10)
    mean = module.predict(images, "mean")
    assert not torch.allclose(mean, module.predict(images, "last").log_softmax(1))
    with pytest.raises(ValueError, match="rule"):
        module.predict(images, "vote")


def test_the_temperatures_are_trained_and_not_decayed():
    module, _ = build_matched(find_workload("dtg-ff"), recipe(width=0.125))
    names = module.no_weight_decay()
    assert len(names) == 6
    assert names <= {n for n, _ in module.named_parameters()}
    module.accumulate(torch.randn(8, 3, 16, 16), torch.arange(8), 1.0, lambda loss: loss.backward())
    assert all(
        p.grad is not None and p.grad != 0 for n, p in module.named_parameters() if n in names
    )


def test_every_parameter_gets_a_gradient():
    for name in ("bp", "dtg-ff", "dtg-ff-streamed"):
        module, _ = build_matched(find_workload(name), recipe(width=0.125))
        images, labels = torch.randn(8, 3, 16, 16), torch.arange(8)
        module.accumulate(images, labels, 1.0, lambda loss: loss.backward())
        assert all(p.grad is not None for p in module.parameters()), name


def test_digits_load_at_the_size_of_the_learning_test():
    train, held = load_digits(16, 0)
    assert train.images.shape[-2:] == (16, 16)
    assert len(held.labels) == 297
