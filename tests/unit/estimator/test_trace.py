"""The trace: what a real step allocates, in the order in which it does, and what it refuses."""

import copy
import gc
import math
import threading
import warnings
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from ffprof.errors import UsageError
from ffprof.estimator.cuda.autocast import (
    AS_IT_IS,
    FLOAT32,
    FLOAT32_NORM,
    FLOAT32_RESULT,
    LOWER,
    NOT_REACHED,
    WIDEST,
)
from ffprof.estimator.cuda.dispatch import TABLE
from ffprof.estimator.tracing.device import check_version
from ffprof.estimator.tracing.trace import trace
from ffprof.instruments.tensors import LiveTensors

pytestmark = pytest.mark.slow

NEWER = {"rms_norm"}  # of our lists, what torch 2.11 does not cast
ON_HOST = torch.device("cpu")


def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 64, 10),
    )  # fmt: skip


def training(model=net, optimizer="sgd", batch=4, micro_batches=1, size=16, channels=3, classes=10):
    def build(device):
        module = model().to(device)
        kinds = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
            "adamw": lambda p: torch.optim.AdamW(p, foreach=True),
            "adamw-loop": lambda p: torch.optim.AdamW(p, foreach=False),
        }
        chosen = kinds[optimizer](module.parameters())

        def step():
            for _ in range(micro_batches):
                images = torch.ones(batch // micro_batches, channels, size, size, device=device)
                labels = torch.zeros(batch // micro_batches, dtype=torch.long, device=device)
                (F.cross_entropy(module(images), labels) / micro_batches).backward()
            chosen.step()
            chosen.zero_grad()

        return step

    return build


def bytes_by(stream, key):
    found = Counter()
    for allocation in stream.allocations:
        found[getattr(allocation, key)] += allocation.nbytes
    return found


def live_peak(stream, after="step 1 begins"):
    start = {name: place for place, name in stream.marks}[after]
    return max(live for place, live in stream.live() if place >= start)


# What a step allocates


def small_resnet():
    return torchvision.models.resnet18(num_classes=10)


def small_mobilenet():
    return torchvision.models.mobilenet_v3_small(num_classes=10, dropout=0.0)


@pytest.mark.parametrize(
    ("model", "micro_batches", "optimizer"),
    [
        *((net, parts, name) for parts in (1, 2) for name in ("sgd", "adamw", "adamw-loop")),
        (small_resnet, 1, "adamw"),
        (small_resnet, 2, "sgd"),
        (small_mobilenet, 2, "sgd"),
    ],
)
def test_the_trace_holds_what_the_same_code_holds_for_real(model, micro_batches, optimizer):
    """The same build and step, for real on the processor: live bytes agree at the peak."""
    size = 16 if model is net else 64
    options = {"optimizer": optimizer, "micro_batches": micro_batches, "size": size}
    build = training(model, **options)
    gc.collect()
    known = [t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter)]
    step = build(ON_HOST)
    step()
    held = [t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter)]
    mine = {t.untyped_storage()._cdata for t in known}
    held = [t for t in held if t.untyped_storage()._cdata not in mine and t.numel()]
    counters = [t for t in held if t.dim() == 0 and t.dtype is torch.float32]
    on_host = sum(t.untyped_storage().nbytes() for t in counters)  # the optimizer's step numbers
    with LiveTensors("cpu", held) as live:
        del held, known
        step()
    traced = live_peak(trace(build))
    # AdamW's step numbers are the host's on CUDA, and its loop makes some more there.
    assert abs(live.peak_bytes - on_host - traced) <= (64 if "adamw" in optimizer else 0)


def test_every_allocation_is_told_what_it_is_for():
    stream = trace(training(optimizer="adamw"))
    weights = 4 * sum(p.numel() for p in net().parameters())
    sums = bytes_by(stream, "category")
    assert sums["parameter"] == weights
    assert sums["gradient"] == 2 * weights  # made in each of two steps
    assert sums["optimizer state"] == 2 * weights  # two moments, once
    assert sums["buffer"] == 4 * 2 * 8 + 8  # mean, variance, and a count of batches
    assert sums["data"] == 0  # made on the device, not moved there
    activation = [a for a in stream.allocations if a.category == "activation"]
    by_module = Counter()
    for one in activation:
        by_module[one.module] += one.nbytes
    conv = 4 * 4 * 8 * 16 * 16
    assert by_module["0"] == 2 * conv  # in each of two steps
    assert by_module["2"] == 2 * conv
    pooled = conv // 4
    assert by_module["3"] == 2 * (pooled + 2 * pooled)  # and int64 indices


def test_backward_is_laid_to_the_module_that_made_it():
    stream = trace(training())
    flops = Counter()
    for operator in stream.operators:
        if operator.flops:
            flops[operator.phase, operator.module] += operator.flops
    linear = 2 * 4 * 512 * 10
    assert flops["forward", "5"] == 2 * linear
    assert flops["backward", "5"] == 2 * 2 * linear
    conv = 2 * 4 * 16 * 16 * 8 * 27
    assert flops["forward", "0"] == 2 * conv
    assert flops["backward", "0"] == 2 * conv  # no gradient with respect to the images
    assert {o.module for o in stream.operators if o.phase == "optimizer"} == {""}


def test_a_checkpointed_part_is_recomputed():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12))
            self.head = nn.Linear(12, 10)

        def forward(self, x):
            return self.head(checkpoint(self.inner, x.flatten(1)[:, :12], use_reentrant=False))

    stream = trace(training(Checkpointed))
    again = [o for o in stream.operators if o.phase == "recompute" and o.flops]
    # PyTorch stops as soon as it has what backward needs: the last product is not done again.
    assert [o.module for o in again] == ["inner.0", "inner.0"]  # once a step


def test_what_comes_from_the_host_is_data_and_the_host_is_not_counted():
    def build(device):
        model = nn.Linear(1000, 10).to(device)

        def step():
            images, labels = torch.randn(50, 1000), torch.randint(10, (50,))
            F.cross_entropy(model(images.to(device)), labels.to(device)).backward()
            model.zero_grad()

        return step

    sums = bytes_by(trace(build), "category")
    assert sums["data"] == 2 * (4 * 50 * 1000 + 8 * 50)
    assert sums["parameter"] + sums["other"] + sums["temporary"] < 4 * 50 * 1000


def test_the_trace_does_not_grow_with_the_batch():
    few, many = trace(training(batch=2)), trace(training(batch=2048))
    # But for scratch: blocks of threads share a reduction only where there is much to reduce.
    tensors = [Counter(a.scratch is None for a in s.allocations)[True] for s in (few, many)]
    assert tensors[0] == tensors[1]
    assert live_peak(many) > 500 * live_peak(few) / 2
    assert [o.name for o in few.operators] == [o.name for o in many.operators]


@pytest.mark.parametrize("when", ["build", "step"])
def test_a_module_that_is_let_go_lets_go_of_its_memory(when):
    """A head that is replaced, as in every fine-tuning script; a module made anew each step."""

    def build(device):
        model = net().to(device)
        if when == "build":
            model[5] = nn.Linear(512, 20).to(device)

        def step():
            head = nn.Linear(10, 1000).to(device) if when == "step" else nn.Identity()
            head(model(torch.ones(4, 3, 16, 16, device=device))[:, :10]).sum().backward()
            model.zero_grad()

        return step

    gone = {512 * 10 * 4} if when == "build" else {1000 * 10 * 4}
    stream = trace(build, steps=3)
    ended = {~event for event in stream.events if event < 0}
    of_size = [n for n, a in enumerate(stream.allocations) if a.nbytes in gone]
    assert of_size and all(number in ended for number in of_size)


def test_events_are_balanced():
    stream = trace(training(lambda: torchvision.models.resnet18(num_classes=10), size=64))
    live = set()
    for event in stream.events:
        if event >= 0:
            assert event not in live
            live.add(event)
        else:
            live.remove(~event)
    # Weights, buffers and momentum stay; the batch and the loss are the step's own.
    kept = Counter(stream.allocations[number].category for number in live)
    assert set(kept) == {"parameter", "buffer", "optimizer state"}


# Where CUDA differs


def of_operator(stream, *words):
    return [a for a in stream.allocations if any(w in a.operator for w in words)]


def test_dropout_keeps_a_mask_of_one_byte():
    stream = trace(training(lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 10), nn.Dropout())))
    made = [a.nbytes for a in of_operator(stream, "native_dropout") if a.phase == "forward"]
    assert made == [40, 4 * 40] * 2  # the mask first


def attention(heads=4, mask=False):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64 * 12, 10)

        def forward(self, x):
            x = x.flatten(1)[:, :768].view(len(x), 12, 64)
            q, k, v = self.qkv(x).view(len(x), 12, 3, heads, 64 // heads).permute(2, 0, 3, 1, 4)
            bias = torch.zeros(12, 12, device=x.device, dtype=q.dtype) if mask else None
            return self.out(F.scaled_dot_product_attention(q, k, v, bias).flatten(1))

    return Attention


@pytest.mark.parametrize(
    ("dtype", "mask", "kernel"),
    [
        (None, False, "_efficient_attention"),
        (None, True, "_efficient_attention"),
        (torch.bfloat16, False, "_flash_attention"),
        (torch.bfloat16, True, "_efficient_attention"),
    ],
)
def test_attention_takes_the_kernel_that_cuda_takes(dtype, mask, kernel):
    def build(device):
        model = attention(mask=mask)().to(device)

        def step():
            with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                loss = model(torch.randn(4, 3, 16, 16, device=device)).sum()
            loss.backward()
            model.zero_grad()

        return step

    stream = trace(build)
    assert {o.name for o in stream.operators if "attention" in o.name} == {
        f"aten._scaled_dot_product{kernel}",
        f"aten._scaled_dot_product{kernel}_backward",
    }


def test_the_lists_of_autocast_are_those_of_the_installed_torch():
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    names = [n for n in torch._C._dispatch_get_all_op_names() if n.startswith("aten::")]
    cuda = {n.removeprefix("aten::") for n in names if has(n, "AutocastCUDA")}
    host = {n.removeprefix("aten::") for n in names if has(n, "AutocastCPU")}
    ours = {*FLOAT32, *FLOAT32_RESULT, *FLOAT32_NORM, *LOWER, *WIDEST}
    by_name = {n for n in cuda if "Dimname" in n or "dimname" in n or "names" in n}
    assert cuda - host - by_name <= ours | set(NOT_REACHED)
    assert {n for n in ours - cuda if hasattr(torch.ops.aten, n.partition(".")[0])} <= NEWER
    assert set(AS_IT_IS) <= host - cuda


def test_autocast_casts_what_cuda_casts():
    def build(device):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(1, 4), nn.ReLU(), nn.Flatten())
        head = nn.Linear(4 * 14 * 14, 10)
        model.to(device), head.to(device)

        def step():
            with torch.autocast(device.type, torch.bfloat16):
                x = model(torch.randn(2, 3, 16, 16, device=device))
                seen.append((x.dtype, head(x).dtype, head(x).softmax(1).dtype, x.sum().dtype))
                loss = F.cross_entropy(head(x), torch.zeros(2, dtype=torch.long, device=device))
            loss.backward()

        return step

    seen = []
    trace(build)
    # On a processor the norm would stay in bfloat16.
    assert seen[0] == (torch.float32, torch.bfloat16, torch.float32, torch.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_under_autocast_is_that_of_its_parts(smoothing):
    """CUDA has no rule for it, but for nll_loss and sums inside it.

    It asks log_softmax for the type of its input (aten/src/ATen/native/LossNLL.cpp), so that stays
    narrow, and a float32 copy of all its values is made for the loss.
    """
    rows, classes = 64, 1000

    def build(device):
        head = nn.Linear(8, classes).to(device)

        def step():
            with torch.autocast(device.type, torch.bfloat16):
                logits = head(torch.ones(rows, 8, device=device))
                labels = torch.zeros(rows, dtype=torch.long, device=device)
                loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
            seen.append((logits.dtype, loss.dtype))
            loss.backward()

        return step

    seen = []
    stream = trace(build)
    assert seen[0] == (torch.bfloat16, torch.float32)
    narrow = [a.nbytes for a in of_operator(stream, "_log_softmax") if a.phase == "forward"]
    assert narrow == [2 * rows * classes] * 2
    copies = [a for a in of_operator(stream, "_to_copy") if a.phase == "forward"]
    wide = [a.category for a in copies if a.nbytes == 4 * rows * classes]
    assert wide[: 2 if smoothing == 0 else 0] == ["activation"] * (2 if smoothing == 0 else 0)
    assert wide


def test_batch_norm_keeps_its_statistics_in_float32_under_autocast():
    def build(device):
        model = net().to(device)

        def step():
            with torch.autocast(device.type, torch.bfloat16):
                loss = model(torch.randn(2, 3, 16, 16, device=device)).float().sum()
            loss.backward()

        return step

    made = [a.nbytes for a in of_operator(trace(build), "native_batch_norm")]
    assert made[1:3] == [4 * 8, 4 * 8]


def test_optimizers_take_all_parameters_at_once_unless_told_otherwise():
    def build_with(**options):
        def build(device):
            model = net().to(device)
            optimizer = torch.optim.AdamW(model.parameters(), **options)

            def step():
                model(torch.randn(2, 3, 16, 16, device=device)).sum().backward()
                optimizer.step()
                optimizer.zero_grad()

            return step

        return build

    unset, told, loop = (
        trace(build_with(**options)) for options in ({}, {"foreach": True}, {"foreach": False})
    )
    assert unset.events == told.events != loop.events


def test_fp16_with_a_scaler_takes_its_steps():
    def build(device):
        model = net().to(device)
        optimizer = torch.optim.AdamW(model.parameters())
        scaler = torch.amp.GradScaler(device.type)

        def step():
            with torch.autocast(device.type, torch.float16):
                loss = model(torch.randn(2, 3, 16, 16, device=device)).float().sum()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

        return step

    sums = bytes_by(trace(build), "category")
    assert sums["optimizer state"] == 2 * sums["parameter"] > 0


def test_the_table_of_rules_gives_reasons():
    assert len({rule.subject for rule in TABLE}) == len(TABLE) >= 10
    assert all(len(rule.reason) > 30 for rule in TABLE)


def test_nothing_of_a_trace_stays_behind():
    before = F.dropout(torch.ones(1000), 0.5).unique().tolist()
    trace(training(lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 10), nn.Dropout())))
    assert F.dropout(torch.ones(1000), 0.5).unique().tolist() == before == [0, 2]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.ones(2, dtype=torch.bfloat16).exp().dtype is torch.bfloat16
    optimizer = torch.optim.AdamW(nn.Linear(2, 2).parameters())
    optimizer.step()
    assert optimizer.param_groups[0]["foreach"] is None


# Bad input


def spoiled(body):
    def build(device):
        model = nn.Linear(4, 4).to(device)

        def step():
            body(model, torch.randn(3, 4, device=device), device)

        return step

    return build


def loss_is_logged(model, x, device):
    loss = model(x).sum()
    loss.backward()
    total = 0.0
    total += loss.item() / 2
    assert f"{total:.3f}"
    assert len(model(x).tolist()) == 3


def test_a_logged_loss_is_fine():
    trace(spoiled(loss_is_logged))


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].cos()


def test_a_custom_function_is_traced():
    stream = trace(spoiled(lambda model, x, device: Own.apply(model(x)).sum().backward()))
    assert any(o.name == "aten.cos" and o.phase == "backward" for o in stream.operators)


@torch.library.custom_op("ffprof_test::no_fake", mutates_args=())
def no_fake(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


BAD = {
    "truth": (lambda m, x, d: m(x).sum() > 0 and None, "the step branches on a tensor's value"),
    "compared": (lambda m, x, d: m(x).sum().item() > 3, "compared or rounded"),
    "rounded": (lambda m, x, d: int(m(x).sum()), "converted to an integer"),
    "mask": (lambda m, x, d: x[x > 0], "aten.nonzero"),
    "host": (
        lambda m, x, d: m(torch.randn(3, 4)),
        "the step mixes a tensor on the CPU with one on the GPU",
    ),
    "cuda": (lambda m, x, d: x.to("cuda"), "cuda"),
    "autocast": (lambda m, x, d: torch.autocast("cuda").__enter__(), "cuda"),
    "scaler": (lambda m, x, d: torch.amp.GradScaler("cuda"), "cuda"),
    "compiled": (lambda m, x, d: torch.compile(m)(x), "a module is compiled"),
    "CUDA itself": (lambda m, x, d: torch.cuda.current_stream(), "CUDA itself is called"),
    "no fake": (lambda m, x, d: no_fake(x), "no fake kernel"),
    "lstm": (lambda m, x, d: nn.LSTM(4, 4, device=d)(x[None]), "recurrent layer"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_estimated_is_refused_with_the_users_line(name):
    body, words = BAD[name]
    with pytest.raises(UsageError) as refused, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace(spoiled(body))
    assert words in str(refused.value)
    assert "test_trace.py:" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.fix


def test_sparse_gradients_are_refused():
    def build(device):
        table = nn.Embedding(500, 16, sparse=True).to(device)
        optimizer = torch.optim.SGD(table.parameters(), lr=0.1)

        def step():
            table(torch.zeros(8, dtype=torch.long, device=device)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    with pytest.raises(UsageError, match="sparse_coo"):
        trace(build)


def test_errors_of_the_user_stay_their_own():
    def broken(model, x, device):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trace(spoiled(broken))


def test_a_build_that_returns_no_step_and_one_step_are_refused():
    with pytest.raises(UsageError, match="cannot be called"):
        trace(lambda device: None)
    with pytest.raises(UsageError, match="at least 2"):
        trace(training(), steps=1)


@pytest.mark.parametrize("version", ["2.10.1", "2.16.0+cu134", "3.0.0"])
def test_a_torch_that_the_rules_were_not_checked_against_is_refused(version, monkeypatch):
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(UsageError, match=f"and this is {version.split('+')[0]}"):
        check_version()


# Builds


def test_small_tensors_of_the_host_have_values():
    def build(device):
        rates = [r.item() for r in torch.linspace(0, 0.5, 3)]
        assert rates == [0, 0.25, 0.5]
        assert torch.arange(4).view(2, 2).tolist() == [[0, 1], [2, 3]]
        model = nn.Linear(4, 4)
        nn.init.trunc_normal_(model.weight)
        model.to(device)
        order = torch.randperm(5).tolist()
        assert sorted(order) == list(range(5))
        return lambda: model(torch.randn(2, 4, device=device)).sum().backward()

    trace(build)


def test_numbers_become_tensors_where_they_are_asked_for():
    def build(device):
        weights = torch.tensor([1.0, 2.0], device=device)
        same = torch.as_tensor([3.0, 4.0], device=device)
        with torch.device(device):
            third = torch.tensor([5.0, 6.0])
        fourth = weights.new_tensor([7.0, 8.0])
        host = torch.tensor([9.0])
        assert {t.device for t in (weights, same, third, fourth)} == {device}
        assert host.device != device and host.item() == 9
        return lambda: weights + same + third + fourth

    stream = trace(build)
    assert [a.nbytes for a in stream.allocations if a.phase == "build"] == [8] * 4


def test_copies_of_modules_are_moved_and_held():
    def build(device):
        model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0), 2)
        average = copy.deepcopy(model.to(device))

        def step():
            model(torch.ones(3, 4, 16, device=device)).sum().backward()
            model.zero_grad()
            return average

        return step

    stream = trace(build)
    kept = sum(a.nbytes for a in stream.allocations if a.phase == "build")
    layer = nn.TransformerEncoderLayer(16, 2, 32)
    assert kept == 2 * 2 * 4 * sum(p.numel() for p in layer.parameters())


def test_an_optimizer_made_before_the_move_has_the_same_parameters():
    """Small tensors of the host are real, but not as parameters, whose data ``to`` replaces."""

    def built(early):
        def build(device):
            scale = nn.Module()
            scale.weight = nn.Parameter(torch.ones(3))
            scale.bias = nn.Parameter(torch.zeros(2000))
            if not early:
                scale.to(device)
            optimizer = torch.optim.SGD(scale.parameters(), lr=0.1, momentum=0.9)
            scale.to(device)

            def step():
                (scale.weight * torch.ones(3, device=device)).sum().backward()
                scale.bias.sum().backward()
                optimizer.step()

            return step

        return trace(build)

    early, late = built(True), built(False)
    assert [a.nbytes for a in early.allocations] == [a.nbytes for a in late.allocations]
    assert [a.category for a in early.allocations] == [a.category for a in late.allocations]
    assert "optimizer state" in {a.category for a in early.allocations}
    assert nn.Parameter(torch.ones(3)).tolist() == [1, 1, 1]  # outside of a trace they are real


def test_an_optimizer_of_a_copy_that_was_left_behind_is_refused():
    def build(device):
        weight = nn.Parameter(torch.ones(3))
        optimizer = torch.optim.SGD([torch.ones(3, requires_grad=True)], lr=0.1)

        def step():
            (weight.to(device) * torch.ones(3, device=device)).sum().backward()
            optimizer.step()

        return step

    with pytest.raises(UsageError, match="parameters that are not on the GPU"):
        trace(build)


def test_a_model_made_outside_is_moved_in():
    model = net()

    def build(device):
        moved = model.to(device)
        return lambda: moved(torch.randn(2, 3, 16, 16, device=device)).sum().backward()

    sums = bytes_by(trace(build), "phase")
    assert sums["build"] > 4 * sum(p.numel() for p in net().parameters()) * 0.9


# What would be a wrong number


def nothing(device):
    model = nn.Linear(4, 4)  # on the host
    return lambda: model(torch.ones(2, 4)).sum().backward()


def in_a_thread(device):
    model = nn.Linear(64, 64).to(device)

    def step():
        made = []
        x = torch.ones(8, 64, device=device)
        worker = threading.Thread(target=lambda: made.append(model(x)))
        worker.start()
        worker.join()
        model(x).sum().backward()

    return step


def caught(device):
    model = nn.Linear(4, 4).to(device)

    def step():
        loss = model(torch.ones(2, 4, device=device)).sum()
        try:
            if loss > 3:
                loss = loss * 2
        except Exception:  # noqa: BLE001
            pass
        loss.backward()

    return step


def coroutine(device):
    async def step():
        return torch.ones(4, device=device)

    return step


def generator(device):
    def step():
        yield torch.ones(4, device=device)

    return step


def deciding(decide):
    def build(device):
        model = nn.Linear(4, 4).to(device)

        def step():
            loss = model(torch.ones(2, 4, device=device)).sum()
            if decide(loss):
                torch.ones(1000, device=device)
            loss.backward()

        return step

    return build


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (nothing, "does nothing on the device"),
        (in_a_thread, "in another thread"),
        (caught, "branches on a tensor's value"),
        (coroutine, "coroutine"),
        (generator, "generator"),
        (deciding(lambda loss: float(loss) > 3), "branches on a number"),
        (deciding(lambda loss: float(loss.item()) < 0.5), "branches on a number"),
        (deciding(lambda loss: math.exp(loss.item()) > 10), "branches on a number"),
        (deciding(lambda loss: len(range(int(float(loss) * 10))) > 20), "branches on a number"),
        (deciding(lambda loss: loss.item() % 2 == 0), "compared or rounded"),
        (deciding(lambda loss: loss.item() ** 2 > 4), "compared or rounded"),
    ],
)  # fmt: skip
def test_a_number_that_would_be_wrong_is_refused(build, said):
    with pytest.raises(UsageError, match=said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace(build)


def test_numbers_for_a_log_do_not_change_the_stream():
    def build_with(log):
        def build(device):
            model = nn.Linear(4, 4).to(device)
            seen = []

            def step():
                loss = model(torch.ones(2, 4, device=device)).sum()
                loss.backward()
                if log:
                    seen.append(float(loss))
                    seen.append(math.log(loss.item()))
                    assert f"{loss:.2f}"
                model.zero_grad()

            return step

        return build

    quiet, loud = trace(build_with(False)), trace(build_with(True))
    assert quiet.events == loud.events
    assert [o.name for o in quiet.operators] == [
        o.name for o in loud.operators if "local_scalar" not in o.name
    ]
    assert quiet.marks == loud.marks


def test_it_does_not_matter_what_the_caller_has_on():
    plain = trace(training())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert trace(training()).events == plain.events


def test_rms_norm_and_log_sigmoid_keep_what_cuda_keeps():
    def build_with(layer):
        def build(device):
            model = layer.to(device)

            def step():
                x = torch.ones(128, 256, device=device, requires_grad=True)
                model(x).sum().backward()

            return step

        return build

    def kept(stream):
        return sum(a.nbytes for a in stream.allocations if a.category == "activation") // 2

    plain = 128 * 256 * 4
    assert kept(trace(build_with(nn.RMSNorm(256)))) <= 2 * plain + 128 * 4 + 1024
    assert kept(trace(build_with(nn.LogSigmoid()))) <= 2 * plain + 1024


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell])
def test_recurrent_cells_are_refused(cell):
    with pytest.raises(UsageError, match="recurrent"):
        trace(spoiled(lambda m, x, d: cell(4, 4, device=d)(x)))


def test_kernels_of_attention_that_are_switched_off_are_not_taken():
    def build(device):
        model = attention()().to(device)

        def step():
            with sdpa_kernel(SDPBackend.MATH):
                model(torch.randn(4, 3, 16, 16, device=device)).sum().backward()
            model.zero_grad()

        return step

    assert not {o.name for o in trace(build).operators if "attention" in o.name}
