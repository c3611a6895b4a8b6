"""A part of the oracle's table, exactly: equal to the byte, or off by the difference that is named.

`make oracle` compares all steps.
"""

import sys
from pathlib import Path

import pytest
import torch
from null_device import unfit

sys.path.append(str(Path(__file__).parent))

from comparison import Comparison, counts
from differences import CAUSES, LESS
from figures import Figures, emulated, fast_weights, traced
from steps import STEPS

pytestmark = pytest.mark.slow

EQUAL = (
    "adversarial", "sharpness-aware", "low-rank adapters, checkpointed", "layer by layer",
    "updates inside backward", "perceptron", "rms_norm bf16", "layer_norm on permuted input",
    "group and instance norm", "activations", "losses of two tensors", "unfold", "fold",
    "experts, all at work", "attention", "attention that returns weights", "encoder layer",
    "grouped heads bf16", "embedding", "embedding, few words", "embedding bag, mean", "conv1d",
    "u-net channels last", "bp bf16", "whole model in bf16",
)  # fmt: skip
REFUSED = ("LSTM", "sparse embedding", "a mask that selects", "bilinear and outer products")


def _unfit():
    if torch.version.cuda and torch.__version__.split("+")[0] != "2.14.1":
        return "the figures are those of torch 2.14.1"
    return unfit()


needs_device = pytest.mark.skipif(bool(_unfit()), reason=_unfit())


@pytest.fixture(scope="module")
def cuda(tmp_path_factory):
    """All steps in one process, and those that prove that their order is no matter once more."""
    with fast_weights():
        return dict(emulated([*EQUAL, *LESS], tmp_path_factory.mktemp("oracle")))


@needs_device
@pytest.mark.parametrize("name", EQUAL)
def test_the_tracer_says_what_cuda_takes_to_the_byte(cuda, name):
    with fast_weights():
        one = Comparison(name=name, cuda=cuda[name], tracer=traced(STEPS[name]))
    assert one.verdict == "equal", one.line()


@needs_device
@pytest.mark.parametrize("name", LESS)
def test_known_differences_have_their_size(cuda, name):
    with fast_weights():
        one = Comparison(name=name, cuda=cuda[name], tracer=traced(STEPS[name]))
    assert one.less == LESS[name], one.line()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_modelled_is_refused_in_words(name):
    answer = traced(STEPS[name])
    assert isinstance(answer, str)
    assert STEPS[name].refused in answer


@needs_device
def test_the_order_of_steps_makes_no_difference(cuda, tmp_path):
    """Each begins as in a new process: what ran before leaves nothing."""
    names = ["embedding, few words", "updates inside backward", "unfold", "attention"]
    with fast_weights():
        turned = dict(emulated(names[::-1], tmp_path))  # attention first, in a new process
    for name in names:
        assert turned[name] == cuda[name]


def test_there_are_enough_steps_and_every_difference_is_of_one():
    assert len(STEPS) >= 150
    assert LESS.keys() <= CAUSES.keys() <= STEPS.keys()


def _figures(*peaks, sizes=(512, 1024)):
    return Figures(cold=peaks[:2], steady=peaks[2:], sizes=sizes)


@pytest.mark.parametrize(
    ("tracer", "verdict"),
    [
        ((1000, 2000, 1000, 2000), "equal"),
        ((1000, 2020, 990, 2000), "within 1 %"),
        ((1000, 2021, 1000, 2000), "off"),
        ((989, 2000, 1000, 2000), "off"),
    ],
)
def test_a_verdict_is_of_the_worst_of_four_peaks(tracer, verdict):
    cuda = _figures(1000, 2000, 1000, 2000)
    assert Comparison(name="x", cuda=cuda, tracer=_figures(*tracer)).verdict == verdict


def test_the_line_says_where_the_order_first_differs_and_the_last_line_counts():
    cuda = _figures(1000, 2000, 1000, 2000)
    same = Comparison(name="x", cuda=cuda, tracer=cuda)
    other = Comparison(name="x", cuda=cuda, tracer=_figures(1000, 2000, 1000, 2000, sizes=(512,)))
    refused = Comparison(name="x", cuda=cuda, tracer="a recurrent layer")
    failed = Comparison(name="x", cuda="RuntimeError: no", tracer=cuda)

    assert "the same 2" in same.line()
    assert "differs from 2 of 2" in other.line()
    assert "refused: a recurrent layer" in refused.line()
    assert "failed: RuntimeError: no" in failed.line()
    assert counts([same, other, refused, failed]) == (
        "4 steps: 2 equal, 0 within 1 %, 0 off, 1 refused, 1 failed; in the same order 1 of 2"
    )
