"""Values on the null device that the host can know: computed; all others: told."""

import json
import sys

import pytest
from command import ffprof
from null_device import built_or_skip

RIGHT = """
first.item() is True
ids.tolist() == [[1, 2, 3, 0], [4, 5, 0, 0]]
mask.sum().item() == 5
mask.sum(dim=1).tolist() == [3, 2]
mask.sum(dim=1).max().item() == 3
not mask.all() and bool(mask.any())
torch.all(mask == 1).item() is False
a.tolist() == list(range(10))
(a * 2 + 1)[3].item() == 7
(2 - a)[3].item() == -1
(a.float() / 4).tolist()[3] == 0.75
(a // 3).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
a[a > 6].tolist() == [7, 8, 9]
(a > 20).nonzero().shape == (0, 1)
mask.nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]]
changed.tolist() == [2, 7, 2]
labels.tolist() == [[1, 2, 3, -100], [4, 5, -100, -100]]
torch.where(mask, ids, -1).tolist() == [[1, 2, 3, -1], [4, 5, -1, -1]]
torch.cumsum(mask.long(), 1)[0].tolist() == [1, 2, 3, 3]
torch.tril(torch.ones(3, 3, device=d)).bool().tolist()[0] == [True, False, False]
torch.cat([a[:2], a[5:6]]).tolist() == [0, 1, 5]
a.argmax().item() == 9 and a.view(2, 5).max(dim=1).values.tolist() == [4, 9]
torch.full((2,), 3.0, device=d).tolist() == [3.0, 3.0]
torch.equal(a, torch.arange(10, device=d)) and not torch.equal(a, a + 1)
torch.tensor(0.5, device=d).item() == 0.5
torch.isin(a, torch.tensor([2, 3], device=d)).sum().item() == 2
a.repeat_interleave(torch.tensor([1] * 9 + [2], device=d)).tolist()[-3:] == [8, 9, 9]
torch.bincount(torch.tensor([1, 2, 2], device=d)).tolist() == [0, 1, 2]
ids.to("cpu", torch.float32).tolist()[0] == [1.0, 2.0, 3.0, 0.0]
ids.T.tolist() == [[1, 4], [2, 5], [3, 0], [0, 0]]
(1.0 / (100 ** (torch.arange(0, 4, 2, device=d).float() / 4))).shape == (2,)
(2 ** a)[3].item() == 8
torch.isin(3, a).item() is True
added.tolist() == [1.0, 2.0, 3.0]
torch.sort(torch.tensor([3, 1, 2], device=d)).values.tolist() == [1, 2, 3]
F.one_hot(a[:3]).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
(half * 2.5).dtype == torch.float16 and (half.sum() * 0.5).dtype == torch.float16
(a * 2.5).dtype == torch.float32 and (a.sum() * 2.5).dtype == torch.float32
"""
UNKNOWN = """
weights.sum()
torch.ones(4, 4, device=d).bernoulli_(0.5).sum()
torch.randint(5, (3,), device=d).sum()
behind.sum()
scaled.sum()
listed.sum()
model[1].running_mean.sum()
again.sum()
part.sum()
large.sum()
(a[:, None] + torch.arange(8000, device=d)).sum()
evaluated
loss
embedding.weight.grad.abs().sum()
torch.histc(torch.randn(5, device=d), 3)
torch.linalg.inv(torch.eye(2, device=d) * 2)
torch.zeros(4, device=d).index_copy(0, a[:1], torch.ones(1, device=d)).cos()
torch.zeros(4, device=d).scatter_reduce(0, a[:2], torch.ones(2, device=d), "sum")
torch.zeros(4, device=d).scatter_add(0, drawn_index, torch.ones(3, device=d))
torch.hann_window(5, device=d)
cosine
torch.multinomial(torch.ones(64, device=d), 1)
itself
torch.tensor([1 + 2j], device=d).conj().clone()
torch.ones(2, device=d).resize_(4)
torch.empty(8, device=d).as_strided((2, 4), (1, 1)).fill_(1.0)
compiled
laundered.to(d)
shifted
most[0]
most[1]
handed
aliased
F.one_hot(torch.arange(2000, device=d) % 7, 20_000)
"""
SCRIPT = """
import json, sys, torch
import torch.nn.functional as F
import torch.utils._python_dispatch
import torch.utils.checkpoint
d = "cuda"
first = torch.arange(10, device=d)[3] == 3  # CUDA begins here
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).to(d)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
ids = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]]).to(d)
mask = ids != 0
a = torch.arange(10, device=d)
changed = torch.zeros(3, dtype=torch.long, device=d)
changed[1] = 5
changed += 2
labels = ids.clone()
labels[~mask] = -100
half = torch.ones(3, device=d, dtype=torch.float16)
with torch.inference_mode():
    evaluated = (ids == 0).sum()
weights = model[0].weight
behind = torch.ones(4, device=d)
behind.data.add_(torch.randn(4, device=d))
added = torch.zeros(3, device=d)
torch.add(torch.arange(3, device=d).float(), 1.0, out=added)
embedding = torch.nn.Embedding(10, 4).to(d)
embedding(a).sum().backward()
drawn_index = torch.randint(4, (3,), device=d)
cosine = torch.zeros(4, device=d)
torch.cos(torch.randn(4, device=d), out=cosine)
itself = torch.randn(4, device=d)
torch.add(itself, torch.ones(4, device=d), out=itself)
compiled = torch.zeros(4, dtype=torch.long, device=d)
torch._foreach_add_([compiled], 3)
laundered = (torch.randn(100, device=d) > 0.5).cpu() if UNKNOWN else None
most = torch.zeros(2, dtype=torch.long, device=d), torch.zeros(2, dtype=torch.long, device=d)
torch.max(ids, 1, out=most)
handed = torch.zeros(4, device=d)
handed.data_ptr()  # as for a kernel of an extension
aliased = torch.zeros(4, device=d)
aliased.data.cos_()
assert torch.zeros(3, requires_grad=True).is_leaf
assert torch.tensor([1.0], requires_grad=True).is_leaf
read_only = __import__("numpy").memmap(sys.argv[0], mode="r")
assert torch.as_tensor(read_only).tolist()[:3] == list(read_only[:3])
torch.jit.script(torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).to(d))


def partly(x, mask):
    y = x * 2
    if (mask == 0).any():
        y = y.masked_fill(mask[:, None] == 0, 0.0).relu()
    return y[:, : int(mask.sum())]


for reentrant in (False, True):
    x = torch.randn(4, 4, device=d, requires_grad=True)
    half_padded = torch.tensor([1, 1, 0, 0]).to(d)
    part_of_it = torch.utils.checkpoint.checkpoint(partly, x, half_padded, use_reentrant=reentrant)
    assert part_of_it.shape == (4, 2)
    part_of_it.sum().backward()


class Noted(torch.utils._python_dispatch.TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        Noted.count += 1
        return func(*args, **(kwargs or {}))


with Noted():
    (a > 3).sum()
assert Noted.count == 2
shifted = a.clone()
shifted <<= 1
scaled = torch.full((3,), 2.0, device=d).addcmul_(behind[:3], behind[:3])
listed = torch.full((3,), 2.0, device=d)
torch._foreach_mul_([listed], 2.0)
again = torch.ones(1000, device=d)
again = None
again = torch.empty(1000, device=d)  # where the ones were
part = torch.empty(4, dtype=torch.long, device=d)
part[:2] = 1
large = torch.arange(100_000, device=d)
loss = model(torch.randn(8, 4, device=d)).sum()
right = {text: bool(eval(text)) for text in RIGHT}
from ffprof.nulldevice.script.watch import Watch
known = Watch.here._values.is_known
unknown = {text: not known(eval(text)) for text in UNKNOWN}

# Random operators, next to the same ones on the host: what is known is right.
generator = torch.Generator().manual_seed(0)
drawn = lambda n: int(torch.randint(n, (), generator=generator))
hosts = [torch.randint(-9, 9, (4, 5), generator=generator) for _ in range(3)]
pairs = [(one, one.to(d)) for one in hosts]
makers = [
    lambda x, y: x + y, lambda x, y: x * 3 - y, lambda x, y: (x > y).long(), lambda x, y: x.abs(),
    lambda x, y: torch.where(x > 0, x, y), lambda x, y: x.flip(0), lambda x, y: x.T.reshape(4, 5),
    lambda x, y: x.sum(1, keepdim=True) + y, lambda x, y: x.clamp(-5, 5),
    lambda x, y: x.cumsum(1) % 7,
    lambda x, y: x.clone().masked_fill_(y > 0, 4), lambda x, y: (x.float() / 3).round().long(),
    lambda x, y: x.clone().mul_(2).sub_(y), lambda x, y: torch.cat([x, y])[2:6],
    lambda x, y: x.gather(1, y.abs() % 5), lambda x, y: x.sort(1).values,
    lambda x, y: x.amax(0) - y,
]
wrong = []
for number in range(400):
    make, (x, dx), (y, dy) = (one[drawn(len(one))] for one in (makers, pairs, pairs))
    host, there = make(x, y), make(dx, dy)
    if not known(there) or there.tolist() != host.tolist():
        wrong.append(number)
    pairs[drawn(len(pairs))] = (host % 50, there % 50)
with open(sys.argv[1], "w") as file:
    json.dump({"right": right, "unknown": unknown, "wrong": wrong}, file)
for _ in range(2):
    loss = model(torch.randn(8, 4, device=d)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lengths = ids.ne(0).sum(1)
    if lengths.max() > 2 and CONDITION:
        pass
"""


def ran(folder, condition, right="", unknown=""):
    lists = f"RIGHT, UNKNOWN = {right.strip().splitlines()!r}, {unknown.strip().splitlines()!r}"
    (folder / "train.py").write_text(lists + SCRIPT.replace("CONDITION", condition))
    told = folder / "told.json"
    done = ffprof(
        "estimate", "--steps", "2", "--format", "json", "--",
        sys.executable, str(folder / "train.py"), str(told),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout), json.loads(told.read_text())


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    built_or_skip()
    return ran(tmp_path_factory.mktemp("right"), "a[3] == 3", right=RIGHT)


@pytest.fixture(scope="module")
def unknown(tmp_path_factory):
    built_or_skip()
    return ran(tmp_path_factory.mktemp("unknown"), "loss >= 0", unknown=UNKNOWN)


@pytest.mark.parametrize("text", RIGHT.strip().splitlines())
def test_what_is_known_is_right(right, text):
    assert right[1]["right"][text]


@pytest.mark.parametrize("text", UNKNOWN.strip().splitlines())
def test_what_may_be_wrong_is_not_known(unknown, text):
    assert unknown[1]["unknown"][text]


def test_random_operators_give_what_they_give_on_the_host(right):
    assert right[1]["wrong"] == []


def test_a_branch_on_what_is_known_is_no_condition(right):
    record = right[0]
    assert (record["values_read"], record["reads"], record["conditional"]) == (0, [], False)


def test_a_branch_on_a_loss_is_one(unknown):
    record = unknown[0]
    assert record["conditional"] is True
    assert any("loss >= 0" in read["place"]["text"] for read in record["reads"])
