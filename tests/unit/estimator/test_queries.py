"""What a step asks about the GPU is answered as there; what is compiled is not taken for eager."""

import pytest
import torch
from torch import nn

import ffprof
from ffprof.errors import UntraceableError

pytestmark = pytest.mark.slow


def building(ask, act=lambda net: net):
    """Of a step whose first line is ``ask``, on a network that ``act`` has made something of."""

    def build(device):
        net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)).to(device)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        run, data = act(net), torch.ones(256, 64, device=device)

        def step():
            asked = ask()
            with torch.autocast(device.type, torch.bfloat16, enabled=asked is True):
                loss = run(data).float().sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return build


def peak(*words, **more):
    return ffprof.estimate(building(*words), **more).allocated_peak_bytes


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.cuda.is_available(),
        lambda: torch.cuda.is_bf16_supported(),
        lambda: torch.cuda.get_device_capability() >= (8, 0),
        lambda: torch.cuda.device_count() == 1 and torch.cuda.current_device() == 0,
    ],
)
def test_a_step_that_asks_runs_as_it_does_on_the_card(ask):
    assert peak(ask) == peak(lambda: True) != peak(lambda: False)


def test_the_capability_is_the_cards():
    def ask():
        return torch.cuda.get_device_capability() == (8, 9)

    assert peak(ask, card="RTX 4060") == peak(lambda: True, card="RTX 4060")
    assert peak(ask, card="RTX 3070") == peak(lambda: False, card="RTX 3070")


def test_what_is_emulated_is_not_native():
    def ask():
        return torch.cuda.is_bf16_supported(including_emulation=False)

    assert peak(ask, card="RTX 2070") == peak(lambda: False, card="RTX 2070")
    assert peak(ask, card="RTX 4060") == peak(lambda: True, card="RTX 4060")


def test_waiting_and_freeing_what_is_cached_changes_nothing():
    def ask():
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    assert peak(ask) == peak(lambda: False)


@pytest.mark.parametrize(
    "ask", [lambda: torch.cuda.mem_get_info(), lambda: torch.cuda.max_memory_allocated()]
)
def test_what_only_a_gpu_can_tell_is_refused_with_its_line(ask):
    with pytest.raises(UntraceableError, match=r"torch\.cuda\..*, at test_queries\.py:\d+"):
        peak(ask)


def _compiled_in_place(net):
    net.compile(backend="eager")
    return net


@pytest.mark.parametrize(
    "act",
    [
        lambda net: torch.compile(net, backend="eager"),
        _compiled_in_place,
        lambda net: torch.compile(lambda x: net(x) * 2, backend="eager"),
        lambda net: torch.compile(net.forward, backend="eager"),
    ],
)
def test_what_is_compiled_is_refused_however_it_is(act):
    with pytest.raises(UntraceableError, match=r"is compiled.*, at test_queries"):
        peak(lambda: None, act)


def test_pytorch_answers_as_it_did_when_the_trace_is_over():
    before = torch.cuda.is_available, torch._dynamo.eval_frame._callback_from_stance
    with pytest.raises(UntraceableError):
        peak(lambda: torch.cuda.mem_get_info())
    assert (torch.cuda.is_available, torch._dynamo.eval_frame._callback_from_stance) == before
    assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
