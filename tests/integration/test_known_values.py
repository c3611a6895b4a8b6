"""Values on the null device that the host can know: computed; all others: told."""

import json
import sys

import pytest
from command import ffprof
from null_device import built_or_skip

RIGHT = """
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
a.repeat_interleave(torch.tensor([1] * 9 + [2], device=d)).shape == (11,)
torch.sort(torch.tensor([3, 1, 2], device=d)).values.tolist() == [1, 2, 3]
F.one_hot(a[:3]).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
evaluated.item() == 3
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
loss
"""
SCRIPT = f"""
import json, sys, torch
import torch.nn.functional as F
d = "cuda"
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
right = {{text: bool(eval(text)) for text in {RIGHT.strip().splitlines()!r}}}
from ffprof.nulldevice.script.watch import Watch
known = Watch.here._reads._values.is_known
unknown = {{text: not known(eval(text)) for text in {UNKNOWN.strip().splitlines()!r}}}

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
    json.dump({{"right": right, "unknown": unknown, "wrong": wrong}}, file)
for _ in range(2):
    loss = model(torch.randn(8, 4, device=d)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lengths = ids.ne(0).sum(1)
    if lengths.max() > 2 and CONDITION:
        pass
"""


def ran(folder, condition):
    (folder / "train.py").write_text(SCRIPT.replace("CONDITION", condition))
    told = folder / "told.json"
    done = ffprof(
        "estimate", "--steps", "2", "--format", "json", "--",
        sys.executable, str(folder / "train.py"), str(told),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout), json.loads(told.read_text())


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    built_or_skip()
    return ran(tmp_path_factory.mktemp("values"), "a[3] == 3")


@pytest.mark.parametrize("text", RIGHT.strip().splitlines())
def test_what_is_known_is_right(told, text):
    assert told[1]["right"][text]


@pytest.mark.parametrize("text", UNKNOWN.strip().splitlines())
def test_what_may_be_wrong_is_not_known(told, text):
    assert told[1]["unknown"][text]


def test_random_operators_give_what_they_give_on_the_host(told):
    assert told[1]["wrong"] == []


def test_a_branch_on_what_is_known_is_no_condition(told):
    assert told[0]["values_read"] == 0
    assert told[0]["conditional"] is False
    assert told[0]["reads"] == []


def test_a_branch_on_a_loss_is_one(tmp_path):
    built_or_skip()
    record, _ = ran(tmp_path, "loss >= 0")
    (read,) = record["reads"]
    assert record["conditional"] is True
    assert "loss >= 0" in read["place"]["text"]
