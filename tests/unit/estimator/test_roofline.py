import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.estimator.roofline import FITTED, kernels_of, kind_of, step_time, time_operator
from ffprof.estimator.stream import Operator
from ffprof.hardware.cards import find_card

CARD = find_card("RTX 3070")  # 20.31 TFLOP/s fp32, 40.6 half, 448 GB/s, 46 SMs
# Shares of 1 and no fixed costs, so that times can be computed by hand.
PLAIN = dataclasses.replace(
    FITTED,
    fp32_compute=1.0,
    tensor_flops_per_sm_cycle=1e12,
    contiguous_slowdown=1.0,
    memory=1.0,
    normalisation_memory=0.5,
    link=1.0,
    launch_seconds=0.0,
    band_low=0.5,
    band_high=2.0,
)


def operator(name="aten.mm", **changes):
    fields = {
        "name": name,
        "phase": "forward",
        "module": "",
        "flops": 0,
        "read_bytes": 0,
        "written_bytes": 0,
        "element_bytes": 4,
        "position": 0,
    }
    return Operator(**(fields | changes))


def timed(one, *, card=CARD, precision="fp32", tf32=False, efficiencies=PLAIN, **more):
    return time_operator(
        one, card, precision=precision, tf32=tf32, efficiencies=efficiencies, **more
    )


# ---- by hand


def test_a_product_in_fp32_takes_its_flops_at_the_fp32_peak():
    found = timed(operator(flops=2_031_000_000_000))
    assert found.bound == "compute"
    assert found.seconds == pytest.approx(0.1)


def test_tf32_and_half_precision_run_on_tensor_cores():
    flops = 4_060_000_000_000
    half = timed(operator(flops=flops, element_bytes=2), precision="bf16")
    assert half.seconds == pytest.approx(0.1)
    tf32 = timed(operator(flops=flops), tf32=True)
    assert tf32.seconds == pytest.approx(0.2)
    # elementwise work has no tensor cores
    add = operator("aten.add", flops=2_031_000_000_000, element_bytes=2)
    assert timed(add, precision="bf16", tf32=True).seconds == pytest.approx(0.1)


def test_a_card_without_the_units_computes_in_fp32():
    old = find_card("GTX 1080")
    assert old.fp16_tensor_flops is None
    one = operator(flops=8_870_000_000_000, element_bytes=2)
    for precision in ("fp16", "bf16"):
        assert timed(one, card=old, precision=precision).seconds == pytest.approx(1.0)
    turing = find_card("RTX 2080")  # tensor cores for fp16, none for bf16 or TF32
    half = {p: timed(one, card=turing, precision=p).seconds for p in ("fp16", "bf16")}
    assert half["bf16"] / half["fp16"] == pytest.approx(40.3 / 10.07)
    full = operator(flops=1_000_000_000)
    assert timed(full, card=turing, tf32=True) == timed(full, card=turing, tf32=False)


@pytest.mark.parametrize(
    ("name", "times"),
    [("RTX 3070", 64), ("L40S", 64), ("P100", 2), ("V100 SXM2", 2), ("A30", 2), ("H200", 2)],
)
def test_double_precision_is_a_sixty_fourth_and_on_some_cards_a_half(name, times):
    card = find_card(name)
    one, two = (timed(operator(flops=10**12, element_bytes=size), card=card) for size in (4, 8))
    assert two.seconds == pytest.approx(times * one.seconds)


def test_elementwise_work_takes_its_bytes_at_the_bandwidth():
    found = timed(operator("aten.relu_", read_bytes=224 * 10**6, written_bytes=224 * 10**6))
    assert found.bound == "bandwidth"
    assert found.seconds == pytest.approx(0.001)


def test_normalisation_has_a_share_of_its_own():
    sizes = {"read_bytes": 448 * 10**6}
    norm, relu = (timed(operator(n, **sizes)) for n in ("aten.native_batch_norm", "aten.relu"))
    assert norm.seconds == pytest.approx(2 * relu.seconds)


def test_data_come_over_the_link():
    found = timed(operator("aten.copy_", phase="data", written_bytes=315 * 10**6))
    assert (found.kind, found.bound) == ("host transfer", "link")
    assert found.seconds == pytest.approx(0.01, rel=0.001)  # 31.5 GB/s


def test_small_work_takes_what_starting_it_takes():
    some = dataclasses.replace(PLAIN, launch_seconds=5e-6)
    tiny = operator("aten.add", read_bytes=8, written_bytes=4)
    found = timed(tiny, efficiencies=some)
    assert (found.bound, found.seconds) == ("launch", 5e-6)
    back = operator("aten.convolution_backward", times=3)
    assert timed(back, efficiencies=some).seconds == pytest.approx(3 * 2 * 5e-6)


def test_what_feeds_the_tensor_cores_is_a_limit_in_series():
    # 128 fp32 lanes of two FLOP an SM and cycle, so 20.31e12 / 256 SM-cycles a second
    fed = dataclasses.replace(PLAIN, tensor_flops_per_sm_cycle=512)
    one = operator(flops=10**12, element_bytes=2)
    wanted = 10**12 / 40.6e12 + 10**12 / (512 * 20.31e12 / 256)
    assert timed(one, precision="fp16", efficiencies=fed).seconds == pytest.approx(wanted)
    plain = operator(flops=10**12)
    assert timed(plain, efficiencies=fed).seconds == pytest.approx(10**12 / 20.31e12)


def test_only_convolutions_on_tensor_cores_care_for_the_layout():
    slow = dataclasses.replace(PLAIN, contiguous_slowdown=1.5)

    def ratio(one, **how):
        last, first = (
            timed(one, efficiencies=slow, channels_last=flag, **how).seconds
            for flag in (True, False)
        )
        return first / last

    conv = operator("aten.convolution", flops=10**12)
    assert ratio(conv, tf32=True) == pytest.approx(1.5)
    assert ratio(conv, tf32=False) == pytest.approx(1.0)
    assert ratio(operator(flops=10**12), tf32=True) == pytest.approx(1.0)


def test_a_step_is_the_sum_of_its_operators():
    step = [
        operator("aten.convolution", flops=2_031_000_000_000),  # 100 ms
        operator("aten.convolution", phase="recompute", flops=2_031_000_000_000),
        operator("aten.relu_", read_bytes=44_800_000_000, times=2),  # 2 x 100 ms
        operator("aten.view", read_bytes=10**12),  # nothing
        operator(
            "aten.convolution_backward", phase="backward", flops=4_062_000_000_000, module="a"
        ),
    ]
    found = step_time(step, CARD, precision="fp32", tf32=False, efficiencies=PLAIN, slowest=2)
    assert found.seconds == pytest.approx(0.6)
    assert (found.low_seconds, found.high_seconds) == pytest.approx((0.3, 1.2))
    assert found.images_per_second(60) == pytest.approx((50, 100, 200))
    assert found.share_by_bound == pytest.approx({"compute": 4 / 6, "bandwidth": 2 / 6})
    assert found.share_by_phase == pytest.approx(
        {"forward": 3 / 6, "backward": 2 / 6, "recompute": 1 / 6}
    )
    assert found.share_by_kind == pytest.approx({"convolution": 4 / 6, "elementwise": 2 / 6})
    assert found.recomputed_flops == 2_031_000_000_000
    assert found.useful_flops == 3 * 2_031_000_000_000
    assert found.recompute_seconds == pytest.approx(0.1)
    assert [one.operator.name for one in found.slowest] == [
        "aten.relu_",
        "aten.convolution_backward",
    ]
    assert found.kernels == 1 + 1 + 2 + 2
    assert found.card == "GeForce RTX 3070"


def test_the_band_is_claimed_only_where_it_was_checked():
    long = [operator(flops=10**12)]
    short = [operator("aten.add", read_bytes=4)] * 1000
    made = [
        step_time(ops, CARD, precision="fp32", tf32=False).band_applies for ops in (long, short)
    ]
    assert made == [True, False]


def test_a_step_without_work_is_an_error():
    for nothing in ([], [operator("aten.view")]):
        with pytest.raises(ValueError, match="no operator"):
            step_time(nothing, CARD, precision="fp32", tf32=False)


@pytest.mark.parametrize(
    ("name", "phase", "kind"),
    [
        ("aten.convolution", "forward", "convolution"),
        ("aten.convolution_backward.default", "backward", "convolution"),
        ("aten.addmm", "forward", "matrix product"),
        ("aten._scaled_dot_product_flash_attention", "forward", "matrix product"),
        ("aten.native_batch_norm_backward", "backward", "normalisation"),
        ("aten.native_group_norm", "forward", "normalisation"),
        ("aten.relu_", "forward", "elementwise"),
        ("aten.linalg_vector_norm", "forward", "elementwise"),
        ("aten._foreach_addcdiv_", "optimizer", "optimizer"),
        ("aten.addcmul_", "optimizer", "optimizer"),
        ("aten._to_copy", "forward", "copy"),
        ("aten._to_copy", "data", "host transfer"),
        ("aten.view.default", "forward", "no work"),
        ("aten.t", "backward", "no work"),
    ],
)
def test_operators_are_told_by_their_names(name, phase, kind):
    assert kind_of(name, phase) == kind


def test_a_backward_operator_starts_two_kernels():
    assert (kernels_of("aten.convolution_backward"), kernels_of("aten.convolution")) == (2, 1)


# ---- properties

names = st.sampled_from(
    ["aten.convolution", "aten.mm", "aten.relu", "aten.native_batch_norm", "aten.copy_"]
)
operators = st.builds(
    lambda name, phase, flops, read, written, size, times: operator(
        name,
        phase=phase,
        flops=flops,
        read_bytes=read,
        written_bytes=written,
        element_bytes=size,
        times=times,
    ),
    names,
    st.sampled_from(["forward", "backward", "optimizer", "data", "recompute"]),
    st.integers(0, 10**13),
    st.integers(0, 10**10),
    st.integers(0, 10**10),
    st.sampled_from([2, 4, 8]),
    st.integers(1, 50),
)
steps = st.lists(operators, min_size=1, max_size=8)
hows = st.fixed_dictionaries(
    {
        "precision": st.sampled_from(["fp32", "bf16", "fp16"]),
        "tf32": st.booleans(),
        "channels_last": st.booleans(),
    }
)


@given(
    steps,
    hows,
    st.sampled_from(
        [
            "bandwidth_bytes_per_second",
            "fp32_flops",
            "tf32_flops",
            "fp16_tensor_flops",
            "bf16_tensor_flops",
        ]
    ),
    st.floats(1, 10),
)
def test_a_better_card_is_never_slower(step, how, peak, factor):
    better = dataclasses.replace(CARD, **{peak: getattr(CARD, peak) * factor})
    before, after = (step_time(step, card, **how).seconds for card in (CARD, better))
    assert after <= before * (1 + 1e-12)


@given(steps, hows, operators)
def test_more_work_is_never_faster(step, how, more):
    before, after = (step_time(s, CARD, **how).seconds for s in (step, [*step, more]))
    assert after >= before


@given(steps, hows)
def test_no_operator_beats_the_peaks_and_shares_sum_to_one(step, how):
    found = step_time(step, CARD, **how)
    on_card = [o for o in step if kind_of(o.name, o.phase) != "host transfer"]
    moved = sum(o.touched_bytes * o.times for o in on_card)
    assert found.seconds >= moved / CARD.bandwidth_bytes_per_second * 0.999
    for shares in (found.share_by_bound, found.share_by_phase, found.share_by_kind):
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share > 0 for share in shares.values())
    assert 0 < found.low_seconds < found.seconds < found.high_seconds
    assert found.useful_flops + found.recomputed_flops == sum(o.flops * o.times for o in step)


@given(steps, hows)
def test_half_of_an_operators_runs_take_half_its_time(step, how):
    twice = [dataclasses.replace(o, times=2 * o.times) for o in step]
    one, two = (step_time(s, CARD, **how).seconds for s in (step, twice))
    assert two == pytest.approx(2 * one)


def test_the_fitted_constants_are_possible():
    assert 0.3 < FITTED.memory < 1
    assert 0.3 < FITTED.normalisation_memory < 1
    assert 0.5 < FITTED.fp32_compute < 1.5
    assert 1 <= FITTED.contiguous_slowdown < 2
    assert 0.3 < FITTED.link < 1
    assert 2e-6 <= FITTED.launch_seconds <= 2e-5
    assert 0.5 < FITTED.band_low < 1 < FITTED.band_high < 2.5
