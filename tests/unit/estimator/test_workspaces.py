"""Workspaces: what each call takes, how long it is kept, and when the cache is emptied."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ffprof.estimator.allocator import CachingAllocator, release_of
from ffprof.estimator.cuda.libraries import calls_of
from ffprof.estimator.cuda.workspaces import (
    WorkspaceModel,
    convolution_bytes,
    model_for,
    resolve,
    trial_bytes,
    uses_cudnn,
)
from ffprof.estimator.replay import Run
from ffprof.estimator.stream import Allocation, Convolution, MatrixProduct, Operator, Stream

MODEL = WorkspaceModel()
X, W, Y = 4 * 8 * 64 * 56 * 56, 4 * 128 * 64 * 9, 4 * 8 * 128 * 56 * 56
CALL = Convolution(
    which="forward",
    input=(8, 64, 56, 56),
    weight=(128, 64, 3, 3),
    output=(8, 128, 56, 56),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
    groups=1,
    transposed=False,
    channels_last=False,
    element_bytes=4,
)
HANDLE = 8_519_680


def product(thread="forward", fused=False):
    return MatrixProduct(thread=thread, fused=fused, element_bytes=4)


def stream_of(*calls, tensors=0):
    """Library calls as the tracer writes them, with tensors of 1 MiB kept between them."""
    stream = Stream()
    for call in calls:
        stream.operators.append(
            Operator(
                name="aten.mm", phase="forward", module="", flops=1, read_bytes=1,
                written_bytes=1, element_bytes=4, position=len(stream.events),
            )
        )  # fmt: skip
        number = stream.allocate(Allocation(0, "workspace", "forward", "", "", call))
        stream.free(number)
        for _ in range(tensors):
            stream.allocate(Allocation(1 << 20, "activation", "forward", "", ""))
        stream.mark(f"after {len(stream.marks)}")
    return stream


def peak(stream):
    allocator = CachingAllocator()
    Run(stream, allocator, include_workspaces=True).forward(len(stream.events))
    return allocator


@pytest.mark.parametrize(
    ("which", "nbytes"),
    [("forward", X + W), ("data gradient", X + W + Y), ("weight gradient", X + Y)],
)
def test_the_copies_of_each_pass(which, nbytes):
    assert convolution_bytes(replace(CALL, which=which), MODEL) == nbytes


def test_little_work_for_its_bytes_makes_no_copies():
    small = replace(CALL, weight=(64, 64, 1, 1), output=(8, 64, 56, 56))
    assert convolution_bytes(small, MODEL) == 0
    assert convolution_bytes(small, replace(MODEL, copies_above=10.0)) > 0


def test_without_autotuning_copies_are_made_for_less_work():
    """64 x 64 of one pixel: 32 FLOP for each byte of input and output."""
    small = replace(CALL, weight=(64, 64, 1, 1), output=(8, 64, 56, 56))
    untuned = replace(MODEL, autotuned=False)
    assert convolution_bytes(small, untuned) > 0
    assert (
        convolution_bytes(replace(small, weight=(8, 64, 1, 1), output=(8, 8, 56, 56)), untuned) == 0
    )


def test_a_transposed_convolution_takes_what_the_one_it_transposes_does():
    """Its forward is a data gradient: the small tensor is read, the large one written."""
    up = replace(CALL, input=CALL.output, output=CALL.input, transposed=True)
    same = {"forward": "data gradient", "data gradient": "forward"}
    for which in ("forward", "data gradient", "weight gradient"):
        plain = replace(CALL, which=same.get(which, which))
        assert convolution_bytes(replace(up, which=which), MODEL) == convolution_bytes(plain, MODEL)


def test_layouts_and_types():
    assert convolution_bytes(replace(CALL, channels_last=True, element_bytes=2), MODEL) == 0
    assert convolution_bytes(replace(CALL, element_bytes=2), MODEL) == (X + W + Y) // 2
    backward = replace(CALL, channels_last=True, which="data gradient")
    assert convolution_bytes(backward, MODEL) == W + Y
    assert convolution_bytes(CALL, replace(MODEL, tensor_cores=False)) == 0


def test_depthwise_convolutions_are_pytorchs_own():
    depthwise = replace(CALL, groups=64, weight=(128, 1, 3, 3))
    assert not uses_cudnn(depthwise)
    assert convolution_bytes(depthwise, replace(MODEL, copies_above=0.0)) == 0
    assert uses_cudnn(replace(depthwise, transposed=True))
    assert uses_cudnn(replace(CALL, groups=32, weight=(128, 2, 3, 3)))
    assert resolve(stream_of(depthwise), MODEL).emptied == []


def test_a_handle_for_each_thread_kept_for_ever():
    calls = [product(), product(), product("autograd"), product("autograd")]
    resolved = resolve(stream_of(*calls), MODEL)
    assert [a.nbytes for a in resolved.allocations] == [HANDLE, 0, HANDLE, 0]
    assert peak(resolved).allocated_bytes == 2 * HANDLE


def test_a_workspace_of_cublaslt_lasts_for_its_call():
    older = replace(MODEL, lt_bytes=1 << 20)
    resolved = resolve(stream_of(product(), product(fused=True), product()), older)
    assert [a.nbytes for a in resolved.allocations] == [HANDLE, 1 << 20, 0]
    assert peak(resolved).allocated_bytes == HANDLE


@pytest.mark.parametrize(
    ("release", "capability", "sizes", "kept"),
    [
        ((2, 11), (8, 9), [HANDLE, 1 << 20, 0, 0], HANDLE + (1 << 20)),
        ((2, 11), (9, 0), [32 << 20, 1 << 20, 0, 0], 33 << 20),
        ((2, 11), (12, 0), [HANDLE, 1 << 20, 0, 0], HANDLE + (1 << 20)),
        ((2, 12), (12, 0), [32 << 20, 0, 0, 0], 32 << 20),
        ((2, 14), (8, 9), [HANDLE, 0, 0, 0], HANDLE),
        ((2, 15), (8, 9), [HANDLE, 1 << 20, 1 << 20, HANDLE], 0),
        ((2, 15), (10, 0), [32 << 20, 1 << 20, 1 << 20, 32 << 20], 0),
    ],
)
def test_what_cublas_takes_is_that_of_the_release(release, capability, sizes, kept):
    """As each release did it on a null device."""
    model = model_for(capability, half=False, tf32=True, autotuned=False, release=release)
    calls = [product(), product(fused=True), product(fused=True), product()]
    resolved = resolve(stream_of(*calls), model)
    assert [a.nbytes for a in resolved.allocations] == sizes
    assert peak(resolved).allocated_bytes == kept


def test_the_first_product_takes_two_workspaces_where_cublaslt_has_its_own():
    model = model_for((8, 9), half=False, tf32=True, autotuned=False, release=(2, 11))
    stream = stream_of(product(fused=True), product("autograd"), product(fused=True))
    resolved = resolve(stream, model)
    made = [resolved.allocations[event].nbytes for event in resolved.events if event >= 0]
    assert made == [HANDLE, 1 << 20, HANDLE, 0]
    assert peak(resolved).allocated_bytes == 2 * HANDLE + (1 << 20)
    assert [o.position for o in resolved.operators] == [0, 2, 3]
    lasting = replace(model, lt_kept=False)
    resolved = resolve(stream_of(product(fused=True), product(fused=True)), lasting)
    assert [a.nbytes for a in resolved.allocations] == [HANDLE, 1 << 20]
    assert peak(resolved).allocated_bytes == HANDLE


def test_the_cache_is_emptied_before_each_new_convolution_only():
    other = replace(CALL, which="weight gradient")
    stream = stream_of(CALL, CALL, other, CALL, other)
    assert resolve(stream, MODEL).emptied == [0, 4]
    assert resolve(stream, replace(MODEL, autotuned=False)).emptied == []


def test_emptying_gives_cached_segments_back():
    stream = Stream()
    stream.free(stream.allocate(Allocation(64 << 20, "temporary", "forward", "", "")))
    stream.allocate(Allocation(30 << 20, "activation", "forward", "", ""))
    assert peak(stream).reserved_bytes == 64 << 20
    stream.emptied.append(2)
    after = peak(stream)
    assert after.reserved_bytes == 30 << 20
    assert after.reserved_peak_bytes == 64 << 20


def test_places_move_with_the_events_that_are_left_out():
    stream = stream_of(product(), CALL, product("autograd"), CALL, tensors=1)
    resolved = resolve(stream, MODEL)
    assert len(resolved.events) == len(stream.events) - 2
    for place, name in resolved.marks:
        before = stream.events[{n: p for p, n in stream.marks}[name] - 1]
        assert resolved.events[place - 1] == before  # the tensor kept before each mark
    for old, new in zip(stream.operators, resolved.operators, strict=True):
        assert stream.events[old.position] == resolved.events[new.position]


def test_without_workspaces_nothing_changes_and_the_stream_given_stays():
    stream = stream_of(product(), CALL, tensors=2)
    before = (list(stream.events), [a.nbytes for a in stream.allocations])
    plain = resolve(stream, WorkspaceModel.none())
    resolve(stream, MODEL)
    assert (plain.events, [a.nbytes for a in plain.allocations]) == before
    assert (stream.events, [a.nbytes for a in stream.allocations]) == before
    assert plain.emptied == stream.emptied == []


def test_what_is_tried_is_bounded_by_the_filters():
    stream = stream_of(CALL, replace(CALL, weight=(16, 64, 1, 1)))
    assert trial_bytes(stream, MODEL) == 700 * 128 * 64
    assert trial_bytes(stream, replace(MODEL, autotuned=False)) == 0
    assert trial_bytes(stream_of(product()), MODEL) == 0


calls = st.sampled_from(
    [
        product(),
        product("autograd"),
        product(fused=True),
        CALL,
        replace(CALL, which="data gradient"),
    ]
)


@given(st.lists(calls, max_size=12), st.integers(0, 2))
def test_all_but_the_handles_is_given_back(made, tensors):
    stream = stream_of(*made, tensors=tensors)
    resolved = resolve(stream, MODEL)
    allocator = peak(resolved)
    threads = {c.thread for c in made if isinstance(c, MatrixProduct)}
    kept = sum(a.nbytes for a in stream.allocations)
    assert allocator.requested_bytes == kept + HANDLE * len(threads)
    assert resolved.emptied == sorted(set(resolved.emptied))
    assert len(resolved.emptied) == len({c for c in made if isinstance(c, Convolution)})


def calls(func, *args):
    return calls_of(func, args, {}, None, "forward")


def test_which_products_go_to_cublas():
    x, vectors = torch.empty(8, 64, 32), (torch.empty(8, 64, 1), torch.empty(8, 1, 64))
    aten = torch.ops.aten
    assert len(calls(aten.bmm.default, x, x.mT)) == 1
    # PyTorch's own kernel from 2.13 on.
    assert (calls(aten.bmm.default, *vectors) == ()) == (release_of(torch.__version__) >= (2, 13))
    bias, rows = torch.empty(16), torch.empty(4, 32)
    assert calls(aten.addmm.default, bias, rows, torch.empty(32, 16))[0].fused
    assert not calls(aten.addmm.default, bias[:1], rows, torch.empty(32, 1))[0].fused
    assert not calls(aten.addmm.default, torch.empty(4, 16), rows, torch.empty(32, 16))[0].fused
