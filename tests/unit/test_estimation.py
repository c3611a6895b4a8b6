"""What an estimate of one's own step can be asked: sizes, growth, changes, reports."""

import pickle

import pytest
import torch
from torch import nn

import ffprof
from ffprof.errors import UsageError
from ffprof.units import GIB

CARD = "RTX 3070"


def net(device, batch=64, depth=3, width=512):
    model = nn.Sequential(
        *[nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(depth)]
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(batch, 100, width, device=device)

    def step():
        if batch == 7:
            raise ValueError("no batch of this size")
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    return step


@pytest.fixture(scope="module")
def found():
    return ffprof.estimate(net, card=CARD, batch=128)


def test_it_prints_as_a_few_lines_and_in_a_notebook_as_its_report(found):
    lines = str(found).splitlines()
    assert len(lines) <= 12 and lines[0].startswith("net: ") and "RTX 3070: fits" in lines[1]
    assert repr(found) == f"<ffprof: {lines[0]}>"
    assert 2 <= len(str(found.breakdown).splitlines()) <= 12
    page = found._repr_html_()
    assert "<table" in page and "when most is reserved" in page
    report = found.report()
    for heading in ("By category", "By phase", "By module", "By line", "when most is allocated"):
        assert heading in report
    assert "test_estimation.py" in report and "batch 128" in report


def test_what_holds_it_adds_up_to_what_is_allocated(found):
    held, whole = found.breakdown, found.allocated_peak_bytes - found.breakdown.slack_bytes
    for parts in (held.by_category, held.by_phase, held.tree(1), held.tree(3)):
        assert sum(parts.values()) == whole
    lines = {line: sum(parts.values()) for line, parts in held.by_line.items()}
    assert sum(lines.values()) == whole
    (most,) = [line for line, size in lines.items() if size == max(lines.values())]
    assert most[0] == __file__ and most[2] == "step"  # model(x) is called there


def test_the_largest_batch_is_one_that_fits_and_the_next_does_not(found):
    largest = found.largest("batch", card=CARD)
    at = int(largest)
    assert found.at(batch=at).fit(CARD).answer == "fits"
    tried = {one.size: one.outcome for one in largest.capacity.tried}
    assert at + 1 in tried and len(tried) <= 8
    assert found.at(batch=at + 1).fit(CARD).answer != "fits"
    assert "Largest batch that fits: net" in str(largest)


def test_other_sizes_than_the_batch_can_be_searched_and_swept(found, tmp_path):
    grown = found.sweep(depth=[4, 2, 8]).growth
    assert grown.values == (2, 4, 8)
    sizes = [row.memory.allocated_peak_bytes for row in grown.rows]
    assert sizes == sorted(sizes)
    assert sizes[1] == found.at(depth=4).allocated_peak_bytes
    found.plot(tmp_path / "depth.svg", depth=[2, 4])
    assert "<svg" in (tmp_path / "depth.svg").read_text()
    found.snapshot(tmp_path / "step.pickle")
    assert pickle.loads((tmp_path / "step.pickle").read_bytes())["segments"]


def test_a_size_that_the_step_refuses_is_told_with_its_reason(found):
    (refused,) = [row for row in found.sweep(batch=[7, 8]).growth.rows if row.memory is None]
    assert refused.outcome == "refused" and refused.message == "no batch of this size"
    assert "no batch of this size" in found.sweep(batch=[7, 8])._repr_html_()


@pytest.mark.parametrize("unit", [4, 16])
def test_a_step_that_takes_multiples_alone_is_searched_over_them(unit):
    def picky(device, batch=unit):
        if batch % unit:
            raise ValueError(f"not a multiple of {unit}")
        return net(device, batch)

    largest = ffprof.estimate(picky, card=CARD, batch=4 * unit).largest()
    at, found = int(largest), ffprof.estimate(net, card=CARD)
    assert at % unit == 0 and 0.97 * int(found.largest()) < at
    assert found.at(batch=at).fit(CARD).answer == "fits"
    assert found.at(batch=at + unit).fit(CARD).answer != "fits"
    assert len(largest.capacity.tried) <= 12


def test_a_limit_of_the_allocator_is_no_card():
    found = ffprof.estimate(net, card=CARD, batch=64, capacity_bytes=GIB)
    for ask in (found.advice, found.largest):
        with pytest.raises(UsageError, match="leave out capacity_bytes"):
            ask()


def test_another_card_is_another_estimate():
    found = ffprof.estimate(net, batch=64)
    other = found.on("A100 PCIe 80 GB")
    assert other.overhead != ffprof.estimate(net, card=CARD, batch=64).overhead
    assert other.largest().heading.told == found.largest(card="A100 PCIe 80 GB").heading.told
    assert int(other.largest()) > int(found.largest(card=CARD))


def test_what_ran_on_the_null_device_says_what_it_is_not():
    from ffprof.engine import Emulation

    with pytest.raises(AttributeError, match="no attribute 'advice'; it is of traced steps"):
        object.__new__(Emulation).advice  # noqa: B018
    assert not hasattr(Emulation, "advise")


def test_advice_is_of_the_step_and_of_the_card_that_is_named():
    large = ffprof.estimate(net, batch=6400)
    advice = large.advice(CARD)
    assert str(advice).startswith("net does not fit GeForce RTX 3070")
    by_id = {line.id: line for line in advice.lines}
    halved = ffprof.estimate(net, batch=3200)
    activations = by_id["accumulate-2"].allocated_peak_bytes
    assert abs(activations - halved.allocated_peak_bytes) < 0.01 * GIB
    assert "checkpoint" in advice.code("checkpoint")
    with pytest.raises(UsageError, match="no change 'magic' was tried; name one of accumulate-2"):
        advice.code("magic")


def test_what_the_step_prints_is_shown_once(capsys):
    def chatty(device, batch=4):
        print("building")
        model = nn.Linear(8, 8).to(device)
        x = torch.ones(batch, 8, device=device)
        return lambda: print("loss", model(x).mean().item())

    found = ffprof.estimate(chatty, card=CARD)
    assert capsys.readouterr().out.split() == ["building", *["loss", "1.0"] * 2]
    found.advice(), found.at(batch=8), found.sweep(batch=[1, 2])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: ffprof.estimate(net, bach=3), "build takes no bach; did you mean batch"),
        (lambda: ffprof.estimate(net, batch=0), "batch=0; give a positive whole number"),
        (lambda: ffprof.estimate(net, batch=True), "batch=True; give"),
        (lambda: ffprof.estimate(lambda device, batch: None), "build takes a batch; say how"),
        (lambda: ffprof.estimate(net).largest(), "no card is named; say which"),
        (lambda: ffprof.estimate(net).advice(), "no card is named"),
        (lambda: ffprof.estimate(net).largest("seq", CARD), "build takes no seq; give it one"),
        (lambda: ffprof.estimate(net).sweep(), "sweep is of one size"),
        (lambda: ffprof.estimate(net).sweep(batch=[3]), "give at least two values"),
        (lambda: ffprof.estimate(net).sweep(batch=["a", "b"]), "give a positive whole number"),
        (lambda: ffprof.estimate(net).plot("x.bmp", batch=[1, 2]), "plot x.bmp: unknown format"),
    ],
)
def test_what_cannot_be_meant_is_one_line(ask, told):
    with pytest.raises(UsageError) as caught:
        ask()
    assert told in str(caught.value) and "\n" not in str(caught.value)
