"""What the table's rows may claim about each other, proved in float64 and float32."""

import contextlib

import pytest
import torch
from proving import EXACT, plain_backward, same, trained, trained_once
from records import recipe
from torch.utils.flop_counter import FlopCounterMode

from ffprof.harness.backbone import build_matched, state_digest
from ffprof.harness.data.batches import make_batches
from ffprof.harness.gradient_check import gradients, prove, relative_difference
from ffprof.harness.step import build_step
from ffprof.instruments.tensors import LiveTensors
from ffprof.workload import find_workload, workload_names
from workloads.backbones import initial_state
from workloads.offload import Offload

pytestmark = pytest.mark.slow

BACKBONES = [
    {"backbone": "vgg8", "width": 0.125},
    {"backbone": "vgg11", "width": 0.0625, "image_size": 32},
    {"backbone": "vgg16", "width": 0.0625, "image_size": 32},
    {"backbone": "flat-3-8"},
    {"backbone": "resnet18", "width": 0.125},
]
DTYPES = [torch.float64, torch.float32]
CPU = torch.device("cpu")
ACCUMULATED = [n for n in workload_names() if find_workload(n).accumulates]


@pytest.fixture(autouse=True)
def _everything_is_moved(monkeypatch):
    """Tensors of these tests are small; all of them shall go away and come back."""
    monkeypatch.setattr("workloads.offload.SMALL_BYTES", 0)


def names(values):
    return [v["backbone"] for v in values]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("name", "wanted"), EXACT)
def test_schedules_are_the_same_training_to_the_bit(name, wanted, norm, dtype):
    """Weights, running statistics, optimizer steps and losses, over several steps."""
    made = recipe(norm=norm, width=0.125, steps=3)
    assert same(trained(name, made, dtype=dtype), trained_once(wanted, made, dtype=dtype))


@pytest.mark.parametrize("chosen", BACKBONES[1:], ids=names(BACKBONES[1:]))
@pytest.mark.parametrize(("name", "wanted"), EXACT)
def test_and_on_every_backbone(name, wanted, chosen):
    made = recipe(**chosen)
    assert same(trained(name, made, steps=2), trained_once(wanted, made, steps=2))


def test_and_a_difference_would_be_seen():
    made = recipe(width=0.125)
    base = trained("bp", made)
    assert same(base, trained("bp", made))
    assert not same(base, trained("bp", recipe(width=0.125, seed=1)))
    assert not same(base, trained("bp-accum", made))
    assert not same(trained("dtg-ff", made), trained("dtg-ff-coupled", made))


def test_checkpointing_keeps_less_and_computes_more():
    made = recipe(width=0.125, backbone="flat-9-8")
    flops, held = {}, {}
    for name in ("bp", "bp-ckpt", "bp-ckpt-sqrt"):
        built = build_step(find_workload(name), made, CPU)
        part = make_batches(made, "cpu").batch(0)
        with LiveTensors("cpu", built.module.parameters()) as live:
            built.step.feed(*part)
        with FlopCounterMode(display=False) as counter:
            built.step.feed(*part)
        flops[name], held[name] = counter.get_total_flops(), live.peak_bytes
    # The last segment is not computed again: 8 of 9 units, or the first two of three segments.
    forward = flops["bp-ckpt"] - flops["bp"]
    again = flops["bp-ckpt-sqrt"] - flops["bp"]
    assert 0 < again < forward < flops["bp"] / 3
    assert held["bp-ckpt-sqrt"] < 0.75 * held["bp"]
    assert held["bp-ckpt"] < 0.75 * held["bp"]


@pytest.mark.parametrize(("precision", "backbone"), [("fp32", "resnet18"), ("bf16", "vgg8")])
def test_offloading_moves_the_activations_and_no_weights(precision, backbone, monkeypatch):
    made = recipe(width=0.125, precision=precision, backbone=backbone)
    moved, packed = [], Offload._pack
    monkeypatch.setattr(
        Offload, "_pack", lambda self, t: (moved.append((t, packed(self, t))), moved[-1][1])[1]
    )
    built = build_step(find_workload("bp-offload"), made, CPU)
    built.step.feed(*make_batches(made, "cpu").batch(0))
    away = [t for t, kept in moved if not isinstance(kept, torch.Tensor)]
    shapes = {p.shape for p in built.module.parameters()}
    convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in built.module.modules())
    assert len(away) > convolutions
    assert not [t for t in away if t.shape in shapes and t.dim() == 4]


def test_offloading_copies_what_it_says_and_only_once(monkeypatch):
    monkeypatch.setattr("workloads.offload.SMALL_BYTES", 1 << 16)
    moved = []

    class Counted(Offload):
        def _pack(self, tensor):
            packed = super()._pack(tensor)
            moved.append(packed)
            return packed

    w = torch.randn(64, 64, requires_grad=True)
    x = torch.randn(256, 64, requires_grad=True)
    with Counted([w]):
        h = x * 1.0
        y = (h @ w) * h.sin()  # h is saved three times
        small = (y.sum() * 2.0).exp()  # its saved result is too small to move
    away = {id(p) for p in moved if not isinstance(p, torch.Tensor)}
    held = [p for p in moved if isinstance(p, torch.Tensor)]
    assert len(away) == 3  # h, h @ w, h.sin()
    assert any(p.untyped_storage()._cdata == w.untyped_storage()._cdata for p in held)
    small.backward()
    other = x.detach().requires_grad_()
    again = ((((other * 1.0) @ w) * (other * 1.0).sin()).sum() * 2.0).exp()
    again.backward()
    assert torch.equal(x.grad, other.grad)


def test_an_address_used_again_is_not_taken_for_the_old_tensor():
    """Tensors die between being saved and the backward pass; their place is taken by others."""
    w = torch.ones(32768, requires_grad=True)
    found = []
    for hooks in (Offload([w]), contextlib.nullcontext()):
        w.grad = None
        with hooks:
            total = 0
            for number in range(20):
                x = torch.full((32768,), float(number))
                total = total + (w * x).sum()  # x is saved, and then let go
        total.backward()
        found.append(w.grad.clone())
    assert torch.equal(*found)


@pytest.mark.parametrize("chosen", BACKBONES, ids=names(BACKBONES))
@pytest.mark.parametrize("name", ACCUMULATED)
def test_accumulation_is_exact_with_per_sample_norms(name, chosen):
    made = recipe(norm="group", batch=8, micro_batch=2, **chosen)
    workload = find_workload(name)
    whole = gradients(find_workload(workload.reference), made, 8)
    cut = gradients(workload, made, 2)
    assert whole.keys() == cut.keys()
    for parameter in whole:
        assert relative_difference(cut[parameter], whole[parameter]) <= 1e-12, parameter


@pytest.mark.parametrize("name", ACCUMULATED)
def test_accumulation_in_float32_is_exact_to_rounding(name):
    made = recipe(norm="group", batch=8, micro_batch=2, width=0.125)
    workload = find_workload(name)
    whole = gradients(find_workload(workload.reference), made, 8, torch.float32)
    cut = gradients(workload, made, 2, torch.float32)
    for parameter in whole:
        assert relative_difference(cut[parameter], whole[parameter]) <= 1e-4, parameter


@pytest.mark.parametrize("name", workload_names())
def test_the_harness_finds_the_same_by_itself(name):
    workload = find_workload(name)
    reference = find_workload(workload.reference)
    exact = prove(workload, reference, recipe(norm="group", width=0.125))
    assert exact.equal is True
    assert exact.max_relative_difference <= 1e-12
    batch = prove(workload, reference, recipe(norm="batch", width=0.125))
    assert batch.equal is (not workload.accumulates)
    if workload.accumulates:
        # Batch statistics of micro-batches differ; by how much is what the ledger records.
        assert batch.relative_difference > 1e-3
        assert batch.max_relative_difference >= batch.relative_difference * 0.9
        assert batch.parameter


def test_a_wrong_step_inside_backward_would_be_found(monkeypatch):
    made = recipe(width=0.125)
    fused, bp = find_workload("bp-fused-step"), find_workload("bp")
    assert prove(fused, bp, made).max_relative_difference < 1e-12
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (step(self), step(self)))
    assert prove(fused, bp, made).equal is False


def test_a_method_that_is_not_the_reference_is_found_out():
    """The proof can fail: bp's gradients are not dtg-ff's, and not those of another seed's."""
    made = recipe(width=0.125)
    strange = prove(find_workload("bp"), find_workload("dtg-ff"), made)
    assert strange.equal is False
    assert "other parameters" in strange.message


def test_every_workload_starts_from_identical_backbone_weights():
    made = recipe(width=0.125)
    wanted = initial_state(made)
    for name in workload_names():
        workload = find_workload(name)
        module, matched = build_matched(workload, made)
        own = module.backbone_state()
        if workload.shares == "part":  # the methods without N1
            assert own.keys() == {k for k in wanted if k.endswith("conv.weight")}
            assert matched.backbone == "shared in part: 6 of 36 tensors"
        else:
            assert matched.digest == state_digest(wanted)
            assert own.keys() == wanted.keys()
        assert all(torch.equal(value, wanted[k]) for k, value in own.items())
    assert state_digest(initial_state(recipe(width=0.125, seed=1))) != state_digest(wanted)


def local_setup(norm):
    made = recipe(norm=norm, width=0.125)
    images, labels = make_batches(made, "cpu").batch(0)
    return made, images.double(), labels


def block_gradients(made, images, labels, spoiled_from=None, name="dtg-ff"):
    torch.manual_seed(0)
    module, _ = build_matched(find_workload(name), made)
    module.to(dtype=torch.float64)
    if spoiled_from is not None:
        with torch.no_grad():
            for index, block in enumerate(module.backbone.blocks):
                if index >= spoiled_from:
                    for p in block.parameters():
                        p.add_(torch.randn_like(p))
    module.accumulate(images, labels, 1.0, plain_backward)
    return [
        [p.grad for p in (*block.parameters(), *head.parameters())]
        for block, head in zip(module.backbone.blocks, module.heads, strict=True)
    ]


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("changed", [1, 3, 5])
def test_a_blocks_gradient_does_not_depend_on_later_blocks(norm, changed):
    made, images, labels = local_setup(norm)
    before = block_gradients(made, images, labels)
    after = block_gradients(made, images, labels, spoiled_from=changed)
    for index, (a, b) in enumerate(zip(before, after, strict=True)):
        same = all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        assert same is (index < changed), index


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", ["dtg-ff-coupled", "dtg-ff-twopass", "bp-deepsup"])
def test_in_the_coupled_variant_it_does(name, norm):
    """The first block feels a later block's weights: through the read-out, or through all."""
    made, images, labels = local_setup(norm)
    before = block_gradients(made, images, labels, name=name)
    after = block_gradients(made, images, labels, spoiled_from=5, name=name)
    assert not torch.equal(before[0][0], after[0][0])


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_with_backprop_it_does(norm):
    made, images, labels = local_setup(norm)
    found = []
    for spoil in (False, True):
        module, _ = build_matched(find_workload("bp"), made)
        module.to(dtype=torch.float64)
        if spoil:
            with torch.no_grad():
                module.backbone.blocks[-1].conv.weight.mul_(1.5).add_(0.01)
        module.accumulate(images, labels, 1.0, plain_backward)
        found.append(module.backbone.blocks[0].conv.weight.grad)
    assert not torch.equal(*found)


def test_the_read_out_sends_nothing_back():
    made, images, labels = local_setup("group")
    found = []
    for scale in (1.0, 100.0):
        module, _ = build_matched(find_workload("dtg-ff"), made)
        module.to(dtype=torch.float64)
        with torch.no_grad():
            module.readout.linear.weight.mul_(scale)
        module.accumulate(images, labels, 1.0, plain_backward)
        found.append([p.grad for p in module.backbone.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
