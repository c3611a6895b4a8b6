import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.errors import FfprofError, UsageError
from ffprof.estimator.sizes import DEPTH_CAP, border, exponent, flat_width, sized, swept, varied_by
from ffprof.experiments.question import EstimateQuestion, check_question
from ffprof.workload import find_preset, find_workload

RECIPE = find_preset("smoke").recipe


@given(edge=st.integers(0, 70_000), start=st.integers(1, 70_000), cap=st.integers(1, 65_536))
def test_the_border_is_exact_and_questions_are_few(edge, start, cap):
    asked = []

    def fits(n):
        assert 1 <= n <= cap
        asked.append(n)
        return n <= edge

    assert border(fits, start=start, cap=cap) == min(edge, cap)
    assert len(asked) <= 2 * math.log2(cap + 1) + 3
    assert len(set(asked)) == len(asked)


@given(
    edge=st.integers(2, 60_000),
    start=st.integers(1, 2000),
    fixed=st.floats(0, 0.6),
    off=st.floats(-0.02, 0.02),
)
def test_on_a_line_the_border_takes_few_questions(edge, start, fixed, off):
    """Of memory that is nearly a line, the border is where the line is about 1."""
    asked = []

    def fits(n):
        asked.append(n)
        return n <= edge

    def load(n):
        return fixed + (1 - fixed) * n / (edge * (1 + off))

    assert border(fits, start=start, cap=65_536, load=load) == edge
    assert len(set(asked)) == len(asked)
    # Where the line is off by a fiftieth, that far must be gone.
    assert len(asked) <= 3 + 2 + 2 * math.log2(2 + abs(off) * edge * 2)


@given(edge=st.integers(0, 2000), start=st.integers(1, 2000), loads=st.data())
def test_whatever_is_told_of_the_load_the_border_is_exact(edge, start, loads):
    told = {}

    def load(n):
        return told.setdefault(n, loads.draw(st.none() | st.floats(0.001, 1000)))

    assert border(lambda n: n <= edge, start=start, cap=1500, load=load) == min(edge, 1500)


@given(sizes=st.sets(st.integers(1, 300)), start=st.integers(1, 300))
def test_with_holes_it_is_still_a_border(sizes, start):
    found = border(lambda n: n in sizes, start=start, cap=300)
    assert found == 0 or found in sizes
    # 0 only says that halving found nothing, and 1 does not fit.
    assert found == 300 or found + 1 not in sizes


def test_sizes_keep_what_a_recipe_needs():
    plain, parted = find_workload("bp"), find_workload("bp-accum")
    make, unit, start, _ = sized("micro-batch", parted, RECIPE)
    assert (unit, start) == (1, 8)
    assert make(5)[0] is parted
    assert (make(5)[1].batch, make(5)[1].micro_batch) == (20, 5)  # four micro-batches, as in smoke
    make, unit, start, cap = sized("batch", parted, RECIPE)
    assert (unit, start, cap) == (8, 4, 65_536 // 8)
    assert (make(5)[1].batch, make(5)[1].micro_batch) == (40, 8)
    for question in ("micro-batch", "batch"):
        make, unit, start, _ = sized(question, plain, RECIPE)
        assert (unit, start, make(7)[1].batch, plain.micro_batch(make(7)[1])) == (1, 32, 7, 7)


def test_depth_is_that_of_a_flat_backbone():
    flat = RECIPE.model_copy(update={"backbone": "flat-12-16"})
    for name in ("bp", "bp-accum"):
        make, unit, start, cap = sized("depth", find_workload(name), flat)
        assert (unit, start, cap) == (1, 12, DEPTH_CAP)
        assert make(5)[1] == flat.model_copy(update={"backbone": "flat-5-16"})
        assert find_workload(name).objection(make(cap)[1]) is None
    deeper = RECIPE.model_copy(update={"backbone": f"flat-{DEPTH_CAP + 9}-16"})
    assert sized("depth", find_workload("bp"), deeper)[2] == DEPTH_CAP
    with pytest.raises(UsageError, match="vgg8 has no depth that could grow; name a flat one"):
        sized("depth", find_workload("bp"), RECIPE)


@pytest.mark.parametrize(
    ("question", "backbone", "told"),
    [
        ("micro-batch", "vgg8", {"batch": "N", "micro_batch": "N"}),
        ("batch", "vgg8", {"batch": "N"}),
        ("depth", "flat-3-16", {"backbone": "flat-N-16"}),
    ],
)
def test_what_differs_between_sizes_is_not_printed_as_if_it_did_not(question, backbone, told):
    recipe = RECIPE.model_copy(update={"backbone": backbone})
    assert varied_by(question, recipe) == told
    make, *_ = sized(question, find_workload("bp-accum"), recipe)
    differ = {
        n for n in type(recipe).model_fields if getattr(make(2)[1], n) != getattr(make(5)[1], n)
    }
    assert differ == set(told)


def test_a_sweep_changes_one_thing():
    parted = find_workload("bp-accum")
    assert swept("batch", 12, parted, RECIPE)[1].micro_batch == 4  # 8 does not divide 12
    assert swept("batch", 64, parted, RECIPE)[1].micro_batch == 8
    assert swept("image-size", 24, parted, RECIPE)[1].image_size == 24
    assert swept("depth", 5, parted, RECIPE)[1].backbone == "flat-5-64"
    flat = RECIPE.model_copy(update={"backbone": "flat-3-16"})
    assert swept("depth", 5, parted, flat)[1].backbone == "flat-5-16"
    assert flat_width("vgg8") == 64


@given(power=st.floats(-1, 3), factor=st.integers(1, 1000))
def test_the_exponent_of_a_power_law_is_its_power(power, factor):
    values = (2, 4, 8, 32)
    sizes = [round(1e6 * factor * v**power) for v in values]
    assert exponent(values, sizes) == pytest.approx(power, abs=1e-3)


def test_there_is_no_exponent_without_two_figures():
    assert exponent((1, 2, 4), (None, 7, 0)) is None


NOTHING = EstimateQuestion(
    changes={}, detail=False, against=None, largest=None, sweep=None, plot=None, snapshot=None
)


@pytest.mark.parametrize(
    "options",
    [
        {"largest": "batch", "sweep": "batch=1,2"},
        {"against": "bp", "snapshot": Path("x")},
        {"detail": True, "largest": "batch"},
        {"plot": Path("x.png")},
        {"plot": Path("x.gif"), "sweep": "batch=1,2"},
        {"plot": Path("/nowhere/x.png"), "sweep": "batch=1,2"},
        {"snapshot": Path("/nowhere/x")},
        {"largest": "batch", "changes": {"batch": 8}},
        {"sweep": "batch=1,2", "changes": {"batch": 8}},
        {"sweep": "image-size=8,16", "changes": {"image_size": 8}},
        {"sweep": "depth=1,2", "changes": {"backbone": "vgg8"}},
        {"sweep": "batch"},
        {"sweep": "batch="},
        {"sweep": "batch=1"},
        {"sweep": "batch=2,2"},
        {"sweep": "batch=0,1"},
        {"sweep": "batch=-1,1"},
        {"sweep": "batch=1,2.5"},
        {"sweep": "batch=1,²"},
        {"sweep": "batch=1,65537"},
        {"sweep": "width=1,2"},
        {"sweep": "batch=" + ",".join(map(str, range(1, 30)))},
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_in_one_line(options):
    with pytest.raises(FfprofError) as caught:
        check_question(replace(NOTHING, **options))
    assert "\n" not in str(caught.value) and caught.value.fix


def test_a_sweep_is_sorted():
    assert check_question(replace(NOTHING, sweep="image_size=64, 16")).values == (16, 64)
    assert check_question(replace(NOTHING, changes={"backbone": "flat-2-8"}, sweep="depth=4,1"))
    assert check_question(NOTHING) is None
    with pytest.raises(UsageError, match="an unknown axis"):
        check_question(replace(NOTHING, sweep="=1,2"))
