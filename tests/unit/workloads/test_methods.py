import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from proving import plain_backward
from records import recipe

from ffprof.harness.backbone import build_matched
from ffprof.harness.data.batches import load_digits
from ffprof.instruments.tensors import LiveTensors
from ffprof.workload import find_workload, workload_names
from workloads.architecture import block_shapes, check_backbone, check_local, patch_counts
from workloads.backbones import Backbone, initial_state
from workloads.blocks import Block
from workloads.goodness import (
    EPSILON,
    T_MAX,
    T_MIN,
    LocalHead,
    patch_energies,
    rectified_energies,
    standardised,
)


def goodness(a, patches):
    return standardised(patch_energies(a, patches))


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
    assert patch_counts(block_shapes(recipe())) == [4, 4, 2, 2, 2, 2]
    assert patch_counts(block_shapes(recipe(backbone="flat-5-7"))) == [2] * 5


def test_patches_divide_the_positions_of_their_unit():
    shapes = block_shapes(recipe(backbone="resnet18", image_size=224))
    assert [s.size for s in shapes] == [112, 56, 56, 28, 28, 14, 14, 7, 7]
    assert patch_counts(shapes) == [4, 4, 4, 4, 4, 2, 2, 1, 1]
    odd = recipe(backbone="flat-2-8", image_size=9)
    assert patch_counts(block_shapes(odd)) == [1, 1]
    assert check_local(odd) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "resnet999"}, "unknown backbone"),
        ({"backbone": "flat-0-8"}, "unknown backbone"),
        ({"backbone": "flat-٣-8"}, "unknown backbone"),
        ({"backbone": "vgg11"}, "multiple of 32"),
        ({"image_size": 20}, "multiple of 16"),
        ({"backbone": "resnet18", "image_size": 4}, "at least 8 pixels"),
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


@pytest.mark.parametrize("shape", [(4, 8, 8, 8), (16, 64, 32, 32)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rectified_energies_are_those_of_the_relu_and_leave_it_behind(shape, layout):
    """The large shape is made in pieces."""
    b = torch.randn(shape).contiguous(memory_format=layout)
    plain, fused = (b.clone().requires_grad_() for _ in range(2))
    a, handed = plain * 1.0, fused * 1.0
    a = a.relu()
    wanted, got = patch_energies(a, 2), rectified_energies(handed, 2)
    assert torch.equal(got, wanted)
    assert torch.equal(handed.detach(), a.detach())
    weight = torch.randn_like(got)
    (wanted * weight).sum().backward()
    (got * weight).sum().backward()
    assert torch.equal(fused.grad, plain.grad)
    exact = (a.detach().double().view(*shape[:2], 2, shape[2] // 2, 2, -1) ** 2).mean((3, 5))
    assert torch.allclose(got.double(), (exact + EPSILON).sqrt(), rtol=1e-5)


def test_rectifying_what_autograd_kept_is_an_error_and_not_a_wrong_number():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    b = x.exp()  # keeps its result for backward
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        rectified_energies(b, 2).sum().backward()


def test_energies_need_no_full_size_temporary():
    b = torch.randn(64, 64, 32, 32)
    with LiveTensors("cpu", [b]) as live:
        rectified_energies(b, 2)
    assert live.peak_bytes < 1.3 * b.nbytes


def test_energies_of_low_precision_are_float32():
    assert patch_energies(torch.rand(1, 1, 2, 2, dtype=torch.bfloat16), 1).dtype == torch.float32


def test_a_dead_channel_has_a_finite_gradient():
    a = torch.zeros(2, 3, 4, 4, requires_grad=True)
    goodness(a, 2).sum().backward()
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("patches", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_dead_channel_has_a_finite_gradient_under_loss_scaling_too(dtype, patches):
    """1 / e is 10^4 there, and 65536 times that is beyond float16."""
    b = torch.randn(4, 8, 8, 8)
    b[:, 0] = -1.0
    low = b.to(dtype).requires_grad_()
    exact = b.to(dtype).double().requires_grad_()
    for x in (low, exact):
        energies = rectified_energies(x * 1.0, patches)
        (standardised(energies).sin().sum() * (65536 / 64)).backward()
    assert torch.isfinite(low.grad).all()
    assert (low.grad[:, 0] == 0).all()
    assert (low.grad.double() - exact.grad).norm() < 2e-2 * exact.grad.norm()


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


TUNABLE = [name for name in workload_names() if find_workload(name).settings]


@pytest.mark.parametrize("name", TUNABLE)
def test_a_builder_takes_its_settings_and_without_them_has_their_defaults(name):
    one = find_workload(name)

    def built(settings):
        torch.manual_seed(0)
        return one.load()(recipe(), None, **{s.name: s.default for s in settings})

    def state(module):
        temperatures = [
            torch.as_tensor(head.temperature()).detach() for head in getattr(module, "heads", ())
        ]
        found = {f"temperature {number}": value for number, value in enumerate(temperatures)}
        return {**module.state_dict(), **found}, vars(module)

    def same(a, b):
        (tensors, values), (others, more) = a, b
        numbers = {k for k, v in values.items() if isinstance(v, float) and v != more[k]}
        return not numbers and all(torch.equal(value, others[k]) for k, value in tensors.items())

    plain = state(built(()))
    assert same(plain, state(built(one.settings)))
    for setting in one.settings:
        assert not same(plain, state(built(one.tuned({setting.name: setting.high}).settings)))


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


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
@pytest.mark.parametrize("size", [16, 32, 64])
def test_residual_backbones_are_torchvisions(name, size):
    """The plain workload computes what torchvision's network does from the same weights."""
    made = recipe(backbone=name, width=1.0, image_size=size)
    module, _ = build_matched(find_workload("bp-plain"), made)
    theirs = getattr(torchvision.models, name)(num_classes=10)
    ours = list(module.backbone.state_dict().items()) + list(module.head.state_dict().items())
    names = [n for n in theirs.state_dict() if not n.startswith("fc")] + ["fc.weight", "fc.bias"]
    assert len(ours) == len(names)
    theirs.load_state_dict({n: value for n, (_, value) in zip(names, ours, strict=True)})
    images = torch.randn(4, 3, size, size)
    assert torch.allclose(module(images), theirs(images), rtol=1e-4, atol=1e-5)
    stages = [2, 2, 2, 2] if name == "resnet18" else [3, 4, 6, 3]
    assert len(module.backbone) == 1 + sum(stages)
    x = images
    for unit, shape in zip(module.backbone, module.backbone.shapes, strict=True):
        a = unit.activate(x)
        assert a.shape[1:] == (shape.channels, shape.size, shape.size)
        x = unit.shrink(a)


def test_every_class_has_a_pattern_of_its_own():
    made = recipe(width=0.125)
    module, _ = build_matched(find_workload("hinton-ff"), made)
    images = torch.randn(10, 3, 16, 16)
    flat = (module.labelled(images, torch.arange(10)) - images).flatten(1)
    torch.testing.assert_close(flat.square().mean(1), torch.full((10,), 0.5))
    assert flat.view(10, 3, -1).mean(2).abs().max() < 1e-5  # no class is brighter
    overlap = flat @ flat.T / flat.square().sum(1) - torch.eye(10)
    assert overlap.abs().max() < 0.5
    # Smooth: neighbours are alike.
    steps = flat.view(10, 3, 16, 16).diff(dim=3)
    assert steps.square().mean() < 0.5 * flat.square().mean()


def test_hinton_negatives_carry_another_label():
    made = recipe(width=0.125)
    module, _ = build_matched(find_workload("hinton-ff"), made)
    seen = []
    labelled = module.labelled
    module.labelled = lambda images, labels: seen.append(labels) or labelled(images, labels)
    labels = torch.arange(8) % 10
    module.accumulate(torch.randn(8, 3, 16, 16), labels, 1.0, lambda loss: loss.backward())
    assert torch.equal(seen[0][:8], labels)
    assert (seen[0][8:] != labels).all()
    assert module.predict(torch.randn(4, 3, 16, 16), "read").shape == (4, 10)


@pytest.mark.parametrize("name", ["asge", "hinton-ff"])
def test_methods_without_n1_have_no_norms(name):
    module, _ = build_matched(find_workload(name), recipe(width=0.125))
    assert not [m for m in module.backbone.modules() if "Norm" in type(m).__name__]
    if name == "asge":
        assert not module.no_weight_decay()
        assert all(head.temperature() == 1.0 for head in module.heads)


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
    for name in workload_names():
        module, _ = build_matched(find_workload(name), recipe(width=0.125))
        images, labels = torch.randn(8, 3, 16, 16), torch.arange(8)
        module.accumulate(images, labels, 1.0, plain_backward)
        assert all(p.grad is not None for p in module.parameters()), name


def test_digits_load_at_the_size_of_the_learning_test():
    train, held = load_digits(16, 0)
    assert train.images.shape[-2:] == (16, 16)
    assert len(held.labels) == 297
