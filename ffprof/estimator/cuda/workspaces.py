"""What kernels take from the allocator for themselves: workspaces of cuBLAS and cuDNN, scratch.

A stream says for which call workspace is asked, and this module how much that is. Where the
formulas come from is written in docs/estimator.md, "Workspaces"; free of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from ffprof.estimator.stream import Allocation, Convolution, MatrixProduct, Reduction, Stream
from ffprof.units import MIB

NEWEST_KNOWN = (2, 14)  # release of torch, where none is told: the one that is pinned
_Pass = Literal["forward", "data gradient", "weight gradient"]
# A transposed convolution is computed by the passes of the convolution that it transposes
# (conv_transpose in aten/src/ATen/native/Convolution.cpp calls cudnn_convolution_transpose).
_TRANSPOSED: dict[_Pass, _Pass] = {
    "forward": "data gradient",
    "data gradient": "forward",
    "weight gradient": "weight gradient",
}

# (channels last, half precision) -> which tensors cuDNN copies: x is the input or its gradient, w
# the weight or its gradient, y the output or its gradient. Its tensor-core kernels work channels
# last, and those of float32 on rounded inputs. These are cuDNN's own answers: 9.8 and 9.24 said
# for an A100 what the plans need that their heuristic names, for the 7324 convolutions of
# the public rows; medians of the first plans agree within 4 % with these sums.
_COPIES: dict[tuple[bool, bool], dict[_Pass, str]] = {
    (False, False): {"forward": "xw", "data gradient": "xwy", "weight gradient": "xy"},
    (False, True): {"forward": "xwy", "data gradient": "xwy", "weight gradient": "xy"},
    (True, False): {"forward": "xw", "data gradient": "wy", "weight gradient": "xy"},
    (True, True): {"forward": "", "data gradient": "", "weight gradient": ""},
}


@dataclass(frozen=True, kw_only=True)
class WorkspaceModel:
    """How much workspace each library call takes, in bytes.

    ``handle_bytes`` is what cuBLAS takes at the first matrix product of a thread, and keeps if
    ``handle_kept``, else at every one for the length of its call. ``lt_bytes`` is what one takes
    that goes through cublasLt: nothing where it shares the handle's. With ``lt_kept`` a thread
    takes it once and keeps it. ``model_for`` says which release does what.

    ``autotuned`` is ``torch.backends.cudnn.benchmark``: before the first call of every convolution
    all kernels are tried, and then PyTorch frees what is cached (run_single_conv in
    aten/src/ATen/native/cudnn/Conv_v8.cpp).

    ``multiprocessors`` and ``threads_per_multiprocessor`` are the card's, on which the scratch of
    ``reductions`` depends: by default an RTX 4060's, the smallest of the present 8 GB cards.

    ``copies_above`` is the only fitted number, in FLOP a byte of input, weight and output: cuDNN
    copies tensors for its tensor-core kernels where the work is worth it. 80 is the least sum of
    relative errors over all public rows, float32 and not channels last
    (benchmarks/accuracy/estimator.py); for other types and formats it is a guess. Untuned, the
    plan that cuDNN's heuristic names first is taken, which makes copies from ``untuned_above`` on:
    10 on data-center cards, where most of cuDNN's own answers for an A100 do
    (benchmarks/accuracy/cudnn_workspaces.py), and 80 for float32 on GeForce cards since Ampere,
    which fits measurements with cuDNN 9.1 better (benchmarks/accuracy/xmem_rows.py); what cuDNN
    9.24 answers for these cards lies between.
    ``tensor_cores`` says whether such kernels may be taken: half precision, or float32 with
    ``torch.backends.cudnn.allow_tf32`` on compute capability 8.0 or newer.

    ``trial_bytes_per_filter`` bounds what a kernel that is only tried may take, by the number of
    pairs of an input and an output channel. It is a guess: a few public rows rose for a moment by
    gigabytes, all of them networks with a convolution of more than 3 million such pairs, as
    transforms of the filters would (FFT); most such rows did not. PyTorch does not try what does
    not fit, so this can raise the peak and cannot make a step fail.
    """

    products: bool = True
    reductions: bool = True
    multiprocessors: int = 24
    threads_per_multiprocessor: int = 1536
    convolutions: bool = True
    handle_bytes: int = 8_519_680
    handle_kept: bool = True
    lt_bytes: int = 0
    lt_kept: bool = False
    autotuned: bool = True
    copies_above: float = 80.0
    untuned_above: float = 10.0
    tensor_cores: bool = True
    trial_bytes_per_filter: int = 700

    @classmethod
    def none(cls) -> WorkspaceModel:
        """Tensors alone: no library takes anything, and the cache is never freed."""
        return cls(products=False, convolutions=False, reductions=False)


def model_for(
    capability: tuple[int, int],
    *,
    half: bool,
    tf32: bool,
    autotuned: bool,
    multiprocessors: int = WorkspaceModel.multiprocessors,
    release: tuple[int, int] = NEWEST_KNOWN,
) -> WorkspaceModel:
    """The model for a card of that compute capability under these switches of PyTorch.

    What cuBLAS takes depends on the ``release`` of torch: 2 blocks of 4096 KiB and 8 of 16 KiB, or
    32 MiB on large cards (parseChosenWorkspaceSize in aten/src/ATen/cuda/CublasHandlePool.cpp).
    As torch 2.10.0, 2.11.0, 2.12.1, 2.13.0, 2.14.1 and 2.15.0 did it on null devices of compute
    capability 8.9, 9.0, 10.0 and 12.0: until 2.11, large is 9.0 alone, and cublasLt has 1 MiB of
    its own, which is kept; from 2.12 on, large is 9.0 and newer, and cublasLt shares; from 2.15
    on, nothing is kept, and cublasLt takes 1 MiB.

    Tensor cores take half precision from 7.0 on, and float32 rounded to TF32 from 8.0 on. Threads
    of a multiprocessor are those of the CUDA C++ Programming Guide's table of capabilities.
    """
    small = capability in ((8, 6), (8, 7), (8, 9)) or capability >= (12, 0)
    large = capability >= (9, 0) if release >= (2, 12) else capability == (9, 0)
    return WorkspaceModel(
        multiprocessors=multiprocessors,
        threads_per_multiprocessor=1024 if capability == (7, 5) else 1536 if small else 2048,
        handle_bytes=32 * MIB if large else WorkspaceModel.handle_bytes,
        handle_kept=release < (2, 15),
        lt_bytes=0 if (2, 12) <= release < (2, 15) else MIB,
        lt_kept=release < (2, 12),
        autotuned=autotuned,
        untuned_above=80.0 if small and not half else WorkspaceModel.untuned_above,
        tensor_cores=capability >= (7, 0) if half else tf32 and capability >= (8, 0),
    )


def convolution_bytes(call: Convolution, model: WorkspaceModel) -> int:
    """What cuDNN requests for one pass of a convolution: copies of its tensors, or nothing."""
    if not model.tensor_cores or not uses_cudnn(call):
        return 0
    which, x, y = call.which, call.input, call.output
    if call.transposed:
        which, x, y = _TRANSPOSED[which], y, x
    shapes = {"x": x, "w": call.weight, "y": y}
    sizes = {name: math.prod(shape) * call.element_bytes for name, shape in shapes.items()}
    flops = 2 * math.prod(y) * math.prod(call.weight[1:])
    least = model.copies_above if model.autotuned else model.untuned_above
    if flops <= least * sum(sizes.values()):
        return 0
    copied = _COPIES[call.channels_last, call.element_bytes < 4][which]
    return sum(sizes[name] for name in copied)


def uses_cudnn(call: Convolution) -> bool:
    """Whether cuDNN computes it, and not PyTorch's own depthwise kernel, which needs no workspace.

    is_depthwise and use_cudnn_depthwise in aten/src/ATen/native/Convolution.cpp: cuDNN has those
    that are channels last. Half precision in the usual format, of which some go to it, is left out.
    """
    channels = call.input[1]
    depthwise = (
        not call.transposed
        and len(call.input) in (4, 5)
        and call.groups == channels > 1
        and call.weight[0] % channels == 0
    )
    return not depthwise or call.channels_last


def reduction_bytes(call: Reduction, model: WorkspaceModel) -> tuple[int, int]:
    """Partial results and semaphores of a reduction; nothing where one block does it.

    Inputs are shared by as many blocks as keep the card busy, if no thread is left with less than
    16 values (``setReduceConfig`` in aten/src/ATen/native/cuda/Reduce.cuh).
    """
    if not model.reductions:
        return 0, 0
    at_once = model.multiprocessors * (model.threads_per_multiprocessor // call.threads)
    if call.blocks > at_once:
        return 0, 0
    shared = max(
        min(math.ceil(at_once / call.blocks), math.ceil(call.values / 16)),
        math.ceil(call.values / 256),
    )
    if shared <= 1:
        return 0, 0
    return call.accumulator_bytes * call.outputs * shared * call.lanes, 4 * call.blocks


def trial_bytes(stream: Stream, model: WorkspaceModel) -> int:
    """What autotuning might take for a moment beyond ``resolve``, if that much is free."""
    if not (model.convolutions and model.autotuned):
        return 0
    calls = {a.scratch for a in stream.allocations if isinstance(a.scratch, Convolution)}
    pairs = (c.weight[0] * c.weight[1] for c in calls if uses_cudnn(c))
    return model.trial_bytes_per_filter * max(pairs, default=0)


def resolve(stream: Stream, model: WorkspaceModel) -> Stream:
    """The stream with the size of every workspace, and with the moments when the cache is emptied.

    The stream that is given stays as it is.
    """
    allocations = list(stream.allocations)
    emptied = list(stream.emptied)
    tried: set[Convolution] = set()
    kept: set[int] = set()
    held: set[str] = set()
    added: dict[int, Allocation] = {}
    for position, event in enumerate(stream.events):
        if event < 0 or (call := allocations[event].scratch) is None:
            continue
        if isinstance(call, Reduction):
            nbytes = reduction_bytes(call, model)[allocations[event].part]
        elif isinstance(call, Convolution):
            nbytes = convolution_bytes(call, model) if model.convolutions else 0
            if model.convolutions and model.autotuned and uses_cudnn(call) and call not in tried:
                tried.add(call)
                emptied.append(position)
        else:
            taken = _product_bytes(call, model, held) if model.products else ()
            nbytes = taken[0][0] if taken else 0
            if taken and taken[0][1]:
                kept.add(event)
            if len(taken) > 1:
                added[position] = _sized(allocations[event], taken[1][0])
        allocations[event] = _sized(allocations[event], nbytes)
    resolved = replace(stream, allocations=allocations, emptied=sorted(emptied))
    return _rearranged(resolved, kept, added)


def _product_bytes(
    call: MatrixProduct, model: WorkspaceModel, held: set[str]
) -> list[tuple[int, bool]]:
    """The workspaces that a product takes, each with whether it is kept; of two, both are.

    ``held`` is what threads have kept by now.
    """
    if not model.handle_kept:
        return [(model.lt_bytes if call.fused else model.handle_bytes, False)]
    taken, lt = [], f"{call.thread} cublasLt"
    if call.thread not in held:
        held.add(call.thread)
        taken.append((model.handle_bytes, True))
    if call.fused and lt not in held and (model.lt_kept or not taken):
        if model.lt_kept:
            held.add(lt)
        taken.append((model.lt_bytes, model.lt_kept))
    return taken


def _sized(allocation: Allocation, nbytes: int) -> Allocation:
    return replace(allocation, nbytes=nbytes)


def _rearranged(stream: Stream, kept: set[int], added: dict[int, Allocation]) -> Stream:
    """The stream in which some allocations live on and others follow, all positions moved to match.

    Args:
        stream: with sizes.
        kept: allocations that are never freed.
        added: others that are never freed, each by the position of the event that it follows.
    """
    gone = [p for p, event in enumerate(stream.events) if event < 0 and ~event in kept]
    if not gone and not added:
        return stream

    def moved(position: int) -> int:
        before = sum(p < position for p in gone)
        return position - before + sum(p < position for p in added)

    allocations, events = list(stream.allocations), []
    for position, event in enumerate(stream.events):
        if event >= 0 or ~event not in kept:
            events.append(event)
        if position in added:
            events.append(len(allocations))
            allocations.append(added[position])
    return replace(
        stream,
        allocations=allocations,
        events=events,
        marks=[(moved(position), name) for position, name in stream.marks],
        operators=[replace(o, position=moved(o.position)) for o in stream.operators],
        emptied=[moved(position) for position in stream.emptied],
    )
