import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from ffprof.errors import UsageError
from ffprof.estimator.api import allocator_settings, estimate
from ffprof.estimator.estimate import Estimate

MIB = 2**20


def build(device):
    with torch.device(device):
        model = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 512))
        data = torch.randn(256, 512)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)

    def step():
        optimizer.zero_grad()
        loss = (model(data) - data).square().mean()
        loss.backward()
        optimizer.step()

    return step


def test_a_step_of_ones_own_is_estimated():
    found = estimate(build)
    assert isinstance(found, Estimate)
    weights = 4 * (512 * 1024 + 1024 + 1024 * 512 + 512)
    held = found.breakdown.by_category
    assert held["parameter"] == weights
    assert held["optimizer state"] >= 2 * weights
    assert found.allocated_peak_bytes >= 4 * weights
    assert found.reserved_peak_bytes >= found.allocated_peak_bytes
    low, high = found.process_range_bytes
    assert found.reserved_peak_bytes < low < high
    # Three products a layer, but no gradient of the data; a multiply-add is two.
    assert found.flops_by_operator["aten.mm"] + found.flops_by_operator["aten.addmm"] == (
        2 * 256 * 512 * 1024 * 5
    )
    assert found.fit(8192 * MIB).answer == "fits"
    assert found.fit(16 * MIB).answer == "does not fit"


def test_parameters_and_optimizer_state_stand_with_their_modules():
    held = estimate(build).breakdown.by_module
    assert held["0"]["parameter"] == 4 * (512 * 1024 + 1024)
    assert held["0"]["optimizer state"] >= 2 * held["0"]["parameter"]
    assert held["2"]["parameter"] == 4 * (512 * 1024 + 512)


def test_options_change_what_they_say():
    plain = estimate(build)
    without = estimate(build, workspaces="none")
    assert "workspace" not in without.breakdown.by_category
    assert without.allocated_peak_bytes < plain.allocated_peak_bytes
    growing = estimate(build, allocator="expandable_segments")
    assert growing.reserved_peak_bytes == plain.expandable_reserved_peak_bytes
    assert estimate(build, capacity_bytes=16 * MIB).ran_out
    assert not estimate(build, capacity_bytes=plain.reserved_peak_bytes).ran_out
    assert estimate(build, steps=3).allocated_peak_bytes == plain.allocated_peak_bytes


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 1},
        {"capacity_bytes": 0},
        {"capacity_bytes": -1},
        {"allocator": "fast"},
        {"workspaces": "some"},
    ],
)
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(UsageError):
        estimate(build, **options)


def test_the_short_words_are_settings():
    assert allocator_settings("default") == ""
    assert allocator_settings("expandable_segments") == "expandable_segments:True"
    assert allocator_settings("max_split_size_mb:128") == "max_split_size_mb:128"


def test_naming_the_function_does_not_import_torch():
    modules = "ffprof.estimator.api, ffprof.estimator.estimate"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cudnns_workspaces_are_counted_unless_left_out_and_always_for_a_fit(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    def convolutions(device):
        model = nn.Conv2d(256, 256, 3, padding=1).to(device)

        def step():
            model(torch.ones(8, 256, 64, 64, device=device)).sum().backward()
            model.zero_grad()

        return step

    plain, whole = estimate(convolutions, workspaces="products"), estimate(convolutions)
    assert whole.breakdown.by_category["workspace"] > 0
    assert whole.allocated_peak_bytes > plain.allocated_peak_bytes
    one, other = (found.fit(8192 * MIB).replay for found in (plain, whole))
    assert one.allocated_peak_bytes == other.allocated_peak_bytes


def test_a_named_card_decides_scratch_the_process_and_what_it_is_fitted_to():
    def sums(device):
        model = nn.Linear(2048, 2048).to(device)

        def step():
            model(torch.ones(8192, 2048, device=device)).sum().backward()
            model.zero_grad()

        return step

    cards = {name: estimate(sums, card=name) for name in ("RTX 4060", "RTX 3070", "RTX 2070")}
    # The gradient of the bias is reduced by as many blocks as keep the card busy.
    scratch = {
        name: sum(one.nbytes for one in found.stream.allocations if one.scratch)
        for name, found in cards.items()
    }
    assert scratch["RTX 3070"] > scratch["RTX 4060"]
    assert cards["RTX 2070"].overhead.likely_bytes > cards["RTX 4060"].overhead.likely_bytes
    found = cards["RTX 4060"]
    assert found.card.name == "GeForce RTX 4060"
    assert found.fit().budget_bytes == found.card.cuda_total_bytes
    assert found.fit("RTX 3070").budget_bytes == cards["RTX 3070"].card.cuda_total_bytes
    with pytest.raises(UsageError, match="give bytes, or the name of a card"):
        estimate(sums).fit()
    with pytest.raises(UsageError, match="RTX 4O60"):
        estimate(sums, card="RTX 4O60")


def loop(name, batch, micro_batches, optimizer):
    """What torch 2.14.1 was run with, its CUDA code on the null device."""

    def build(device):
        with torch.device(device):
            model = getattr(torchvision.models, name)()
        if optimizer == "sgd":
            chosen = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)
        else:
            chosen = torch.optim.AdamW(model.parameters(), foreach=True)

        def step():
            x = y = None
            for _ in range(micro_batches):
                x = y = None  # gone before the next one is made
                x = torch.empty(batch // micro_batches, 3, 224, 224, device=device)
                y = torch.empty(batch // micro_batches, dtype=torch.long, device=device)
                (nn.functional.cross_entropy(model(x), y) / micro_batches).backward()
            chosen.step()
            chosen.zero_grad()

        return step

    return build


@pytest.mark.parametrize(
    ("arguments", "allocated", "reserved"),
    [
        (("resnet18", 64, 1, "sgd"), 1558316544, 2168455168),
        (("resnet18", 64, 4, "sgd"), 534129152, 643825664),
        (("resnet18", 64, 1, "adamw"), 1605290496, 2174746624),
        (("resnet50", 64, 1, "sgd"), 5810747392, 6572474368),
        (("vgg16", 8, 1, "adamw"), 2796404224, 3336568832),
    ],
)
def test_the_reference_points_are_reproduced(arguments, allocated, reserved):
    found = estimate(loop(*arguments), workspaces="products")
    assert (found.allocated_peak_bytes, found.reserved_peak_bytes) == (allocated, reserved)
