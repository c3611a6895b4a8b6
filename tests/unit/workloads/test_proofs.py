"""What the table's rows may claim about each other, proved in float64 and float32."""

import pytest
import torch
from records import recipe

from ffprof.audit.data import make_batches
from ffprof.audit.matching import build_matched, state_digest
from ffprof.audit.proof import gradients, prove, relative_difference
from ffprof.audit.step import TrainingStep, make_optimizer
from ffprof.workload import find_workload, workload_names
from workloads.backbones import initial_state

BACKBONES = [
    {"backbone": "vgg8", "width": 0.125},
    {"backbone": "vgg11", "width": 0.0625, "image_size": 32},
    {"backbone": "vgg16", "width": 0.0625, "image_size": 32},
    {"backbone": "flat-3-8"},
]
DTYPES = [torch.float64, torch.float32]
CPU = torch.device("cpu")


def names(values):
    return [v["backbone"] for v in values]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("chosen", BACKBONES, ids=names(BACKBONES))
@pytest.mark.parametrize("micro", [8, 4])
def test_streamed_equals_monolithic_exactly(chosen, norm, dtype, micro):
    made = recipe(norm=norm, **chosen)
    whole = gradients(find_workload("dtg-ff"), made, micro, dtype)
    streamed = gradients(find_workload("dtg-ff-streamed"), made, micro, dtype)
    assert whole.keys() == streamed.keys()
    assert all(torch.equal(whole[name], streamed[name]) for name in whole)
    assert all(whole[name].dtype == dtype for name in whole)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_streamed_equals_monolithic_over_steps_buffers_and_losses_too(norm):
    """Training stays bit for bit the same: weights, running statistics and losses."""
    made = recipe(norm=norm, width=0.125)
    batches, runs = make_batches(made, "cpu"), []
    for name in ("dtg-ff-accum", "dtg-ff-streamed-accum"):
        module, _ = build_matched(find_workload(name), made)
        step = TrainingStep(module, make_optimizer(module, made.optimizer), made, CPU)
        losses = []
        for number in range(4):
            images, labels = batches.batch(number)
            losses.append(step(list(zip(images.split(4), labels.split(4), strict=True))))
        runs.append((module.state_dict(), torch.stack(losses)))
    (first, first_losses), (second, second_losses) = runs
    assert torch.equal(first_losses, second_losses)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("chosen", BACKBONES, ids=names(BACKBONES))
@pytest.mark.parametrize("name", ["bp-accum", "dtg-ff-accum", "dtg-ff-streamed-accum"])
def test_accumulation_is_exact_with_per_sample_norms(name, chosen):
    made = recipe(norm="group", batch=8, micro_batch=2, **chosen)
    workload = find_workload(name)
    whole = gradients(find_workload(workload.reference), made, 8)
    cut = gradients(workload, made, 2)
    assert whole.keys() == cut.keys()
    for parameter in whole:
        assert relative_difference(cut[parameter], whole[parameter]) <= 1e-12, parameter


@pytest.mark.parametrize("name", ["bp-accum", "dtg-ff-accum", "dtg-ff-streamed-accum"])
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
        module, matched = build_matched(find_workload(name), made)
        assert matched.digest == state_digest(wanted)
        own = module.backbone_state()
        assert own.keys() == wanted.keys()
        assert all(torch.equal(own[k], wanted[k]) for k in wanted)
    assert state_digest(initial_state(recipe(width=0.125, seed=1))) != state_digest(wanted)


def local_setup(norm):
    made = recipe(norm=norm, width=0.125)
    images, labels = make_batches(made, "cpu").batch(0)
    return made, images.double(), labels


def block_gradients(made, images, labels, spoiled_from=None):
    torch.manual_seed(0)
    module, _ = build_matched(find_workload("dtg-ff"), made)
    module.to(dtype=torch.float64)
    if spoiled_from is not None:
        with torch.no_grad():
            for index, block in enumerate(module.backbone.blocks):
                if index >= spoiled_from:
                    for p in block.parameters():
                        p.add_(torch.randn_like(p))
    module.accumulate(images, labels, 1.0, lambda loss: loss.backward())
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
def test_with_backprop_it_does(norm):
    made, images, labels = local_setup(norm)
    found = []
    for spoil in (False, True):
        module, _ = build_matched(find_workload("bp"), made)
        module.to(dtype=torch.float64)
        if spoil:
            with torch.no_grad():
                module.backbone.blocks[-1].conv.weight.mul_(1.5).add_(0.01)
        module.accumulate(images, labels, 1.0, lambda loss: loss.backward())
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
        module.accumulate(images, labels, 1.0, lambda loss: loss.backward())
        found.append([p.grad for p in module.backbone.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
