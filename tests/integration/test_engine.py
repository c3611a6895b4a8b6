"""``ffprof.estimate`` with both engines: the same step, traced here and run on the null device."""

import pytest
import torch
import torch.nn.functional as F
from null_device import built_or_skip
from torch import nn

import ffprof
from ffprof.errors import UntraceableError, UsageError
from ffprof.estimator.roofline import step_time
from ffprof.hardware.cards import find_card


@pytest.fixture(scope="module", autouse=True)
def device():
    return built_or_skip()


def test_both_engines_agree_to_the_byte_and_say_which_they_are():
    width = 320

    class Block(nn.Module):  # a class and functions that no module has travel by value
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.wide = nn.Linear(width, 4 * width)
            self.back = nn.Linear(4 * width, width)

        def forward(self, x):
            return x + self.back(F.gelu(self.wide(self.norm(x))))

    def build(device):
        net = nn.Sequential(Block(), Block()).to(device)
        optimizer = torch.optim.AdamW(net.parameters(), foreach=True)
        data = torch.randn(512, width)

        def step():
            net(data.to(device)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    traced = ffprof.estimate(build, card="RTX 4060", engine="auto")
    emulated = ffprof.estimate(build, card="RTX 4060", engine="null")
    assert (traced.engine, traced.evidence) == ("trace", "estimated")
    assert (emulated.engine, emulated.evidence) == ("null", "emulated")
    for name in (
        "allocated_peak_bytes", "reserved_peak_bytes", "cold_allocated_peak_bytes",
        "cold_reserved_peak_bytes", "process_range_bytes", "ran_out",
    ):  # fmt: skip
        assert getattr(emulated, name) == getattr(traced, name), name
    assert emulated.fit().answer == traced.fit().answer == "fits"
    assert emulated.fit(700 * 2**20).answer == "too close to call"
    assert emulated.fit(2**20).answer == "does not fit"
    assert str(emulated).startswith("emulated peaks: ")
    assert "By module" in emulated._repr_html_()
    # And what it computes, operator by operator.
    cost = emulated.record.step_cost
    assert cost.flops_by_operator == traced.flops_by_operator
    assert cost.operators == len(traced.operators)
    card = find_card("RTX 4060")
    time = step_time(traced.operators, card, precision="fp32", tf32=False)
    assert cost.seconds == pytest.approx(time.seconds)
    assert cost.paced_by_host == (not time.band_applies)
    assert cost.evidence == "estimated"
    # Each module holds what the tracer says that it holds.
    held = {one.module: one.total_bytes for one in emulated.record.peak.modules}
    theirs = {
        "" if path.startswith("(") else path: sum(found.values())
        for path, found in traced.breakdown.by_module.items()
    }
    assert held == theirs


def test_what_the_tracer_refuses_goes_to_the_null_device():
    def build(device):
        net = nn.LSTM(256, 512).to(device)
        return lambda: net(torch.randn(64, 32, 256, device=device))[0].sum().backward()

    with pytest.raises(UntraceableError, match="a recurrent layer"):
        ffprof.estimate(build)
    found = ffprof.estimate(build, engine="auto", capacity_bytes=26 * 2**20)
    assert found.engine == "null"
    assert "a recurrent layer" in found.refusal
    assert found.ran_out
    assert 2**20 < found.allocated_peak_bytes <= found.reserved_peak_bytes <= 26 * 2**20
    assert found.record.ran_out.place.text.startswith("return lambda: net(torch.randn(64")
    with pytest.raises(UsageError, match="memory was short"):
        found.fit("RTX 4060")


def test_a_step_that_fails_there_is_told_with_its_line():
    def build(device):
        return lambda: torch.zeros(2, device=device) @ torch.zeros(3, device=device)

    with pytest.raises(UsageError) as raised:
        ffprof.estimate(build, engine="null")
    assert "the step failed on the null device: RuntimeError: " in str(raised.value)
    assert f"at {__file__}:" in str(raised.value)
