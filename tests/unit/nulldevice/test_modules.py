"""Modules of a script: what the allocator's history is told, and what is made of it."""

import pytest
import torch
from torch import nn

from ffprof.nulldevice.script.addresses import Addresses
from ffprof.nulldevice.script.holders import PARAMETERS, Marks, held_at_peak
from ffprof.nulldevice.script.modules import Modules, module_of
from ffprof.nulldevice.script.report import Held, HeldModule


class Followed(Modules):
    """That tells a list instead of the allocator."""

    def __init__(self):
        super().__init__()
        self.told = []

    def install(self):
        super().install()
        self._tell = self.told.append


@pytest.fixture
def followed(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)  # the real one takes seconds
    found = Followed()
    found.install()
    yield found
    found.stop()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(x * 2).relu()


def test_forward_and_backward_tell_whose_work_goes_on(followed):
    net = nn.Sequential(Block(), nn.Linear(4, 2))
    out = net(torch.ones(3, 4))
    assert followed.told == [
        "1|0:", "1|0:0", "1|0:0.inner", "1|0:0", "1|0:", "1|0:1", "1|0:", "",
    ]  # fmt: skip
    followed.told.clear()
    out.sum().backward()
    # The last layer, the rectifier, the inner layer, what was doubled before it; each may take
    # several nodes.
    assert list(dict.fromkeys(followed.told)) == ["1|0:1", "1|0:0", "1|0:0.inner"]
    followed.outside()
    assert followed.told[-1] == ""


def test_a_module_that_fails_leaves_no_trace(followed):
    net = nn.Sequential(Block())
    with pytest.raises(RuntimeError):
        net(torch.ones(3, 5))
    assert followed.told[-1] == ""
    net(torch.ones(3, 4))
    assert followed.told[-1] == ""


def test_compiling_ends_it(followed):
    net = Block()
    torch.compile(net)
    assert followed.stopped
    followed.told.clear()
    net(torch.ones(3, 4))
    assert followed.told == []
    held = Held(
        device=0,
        by_category={},
        lines=(),
        slack=0,
        modules=(HeldModule(module="", by_category={}),),
    )
    assert followed.of(held).modules == ()


def test_names_are_those_of_the_user(followed):
    first, second = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))
    loss = nn.MSELoss()
    loss(first(torch.ones(1, 2)), torch.ones(1, 2))
    assert followed._shown(["0:0", "1:"]) == {"0:0": "0", "1:": "MSELoss"}
    second[0](torch.ones(1, 2))  # called by itself, a part of its model all the same
    assert followed._shown(["0:0", "2:0"]) == {"0:0": "Sequential(1).0", "2:0": "Sequential(2).0"}


def test_what_was_told_before_the_last_forward_is_no_longer_true():
    assert module_of({"user_metadata": "3|0:a"}, 2) == ("0:a", 3)
    assert module_of({"user_metadata": "2|0:a"}, 3) == ("", 3)
    assert module_of({"user_metadata": "of the script"}, 3) == ("", 3)
    assert module_of({}, 3) == ("", 3)


def test_what_is_held_is_by_module():
    def new(address, size, told):
        return {
            "action": "alloc", "addr": address, "size": size, "frames": [], "user_metadata": told,
        }  # fmt: skip

    trace = [new(1, 512, ""), new(2, 1024, "1|0:a"), new(3, 2048, "1|0:b"), new(4, 512, "")]
    marks = Marks(kinds=[(1, {1: PARAMETERS})], modules=[(4, {1: "0:a"})])
    held = held_at_peak(trace, marks, 0, 4096)
    assert [(one.module, sum(one.by_category.values())) for one in held.modules] == [
        ("0:b", 2048), ("0:a", 1536), ("", 512),
    ]  # fmt: skip


class Odd(nn.Module):
    """Says what its parameters are by itself, as losses of two networks do."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.late = nn.LazyLinear(3)

    def parameters(self):
        return [self.inner.weight]

    def buffers(self):
        return {}

    def forward(self, x, more):
        return self.inner(x)


def test_a_module_with_methods_of_its_own_is_followed_by_what_it_holds(followed):
    net, itself = Odd(), []
    itself.append(itself)
    net(torch.ones(1, 2), itself)
    assert not followed.stopped
    found = [path for path, one in followed.parameters() if one is net.inner.weight]
    assert found == ["0:inner"]
    assert list(followed.buffers()) == []
    # A parameter without a shape yet is nowhere.
    assert dict(Addresses(followed, ()).modules) == {}


def test_what_cannot_be_followed_goes_on_unfollowed(followed):
    class Unhashable(nn.Module):
        __hash__ = None

    nn.Sequential(nn.Linear(2, 2)).add_module("x", Unhashable())
    assert followed.stopped
