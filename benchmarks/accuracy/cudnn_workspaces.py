"""What does cuDNN itself say that convolutions need? No GPU is asked, and none is there.

    python benchmarks/accuracy/cudnn_workspaces.py

Since 9.8, cuDNN plans for a GPU that is only described to it. This asks for every convolution of
some torchvision models, on an A100, how much workspace the plan takes that cuDNN's heuristic
names first, and holds it against the copies of ffprof.estimator.cuda.workspaces. Prints Markdown.
Needs ``pip install nvidia-cudnn-frontend`` and a torch that was built for CUDA.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import cudnn  # type: ignore[import-not-found]
import torch
import torch.nn.functional as F
import torchvision

from ffprof.estimator.cuda.workspaces import WorkspaceModel, convolution_bytes, uses_cudnn
from ffprof.estimator.stream import Convolution
from ffprof.estimator.tracing.trace import trace

# The fields that cuDNN reads of a device, filled in for an A100 with 40 GB from CUDA's tables of
# compute capability 8.0.
A100 = {
    "cudaDeviceId": 0, "deviceVer": 800, "driverVer": 13000, "runtimeVer": 13000,
    "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
    "regsPerBlock": 65536, "multiProcessorCount": 108, "smCountOrigin": 0, "warpSize": 32,
    "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 166912,
    "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 4, "isTccDriver": 0,
    "supportCoopLaunch": 1, "smClockRateKHz": 1410000, "memClockRateKHz": 1215000,
    "l2CacheSize": 41943040, "totalGlobalMem": 42505273344, "deviceName": "NVIDIA A100-SXM4-40GB",
}  # fmt: skip
MODELS = ("resnet50", "vgg16", "densenet121", "googlenet", "resnext50_32x4d", "convnext_tiny")
BATCHES = (8, 64)
STEPS_OF_WORK = (0, 10, 20, 40, 80, 160, math.inf)
ALWAYS = WorkspaceModel(copies_above=0.0)


def convolutions() -> Iterator[Convolution]:
    """All that cuDNN computes in a training step of the models, each once."""
    found: dict[Convolution, None] = {}
    for name in MODELS:
        for batch in BATCHES:
            stream = trace(_build(name, batch))
            for allocation in stream.allocations:
                call = allocation.scratch
                if isinstance(call, Convolution) and uses_cudnn(call):
                    found[call] = None
    yield from found


def _build(name: str, batch: int):
    def build(device: torch.device):
        options = {"init_weights": False} if name == "googlenet" else {}
        with torch.device(device):
            model = getattr(torchvision.models, name)(**options)

        def step() -> None:
            scores = model(torch.empty(batch, 3, 224, 224, device=device))
            scores = getattr(scores, "logits", scores)
            labels = torch.empty(batch, dtype=torch.long, device=device)
            F.cross_entropy(scores, labels).backward()

        return step

    return build


def asked(call: Convolution, device: object) -> int | None:
    """Bytes of the first plan that cuDNN can make, or None if it makes none."""
    library = cudnn._pybind_module
    kind = library.data_type.HALF if call.element_bytes == 2 else library.data_type.FLOAT
    graph = library.backend_graph(
        io_data_type=kind,
        intermediate_data_type=library.data_type.FLOAT,
        compute_data_type=library.data_type.FLOAT,
        device_property=device,
    )

    def tensor(name: str, shape: tuple[int, ...]) -> object:
        return graph.tensor(
            name=name, dim=list(shape), stride=_strides(shape, call.channels_last), data_type=kind
        )

    how = {"padding": list(call.padding), "stride": list(call.stride)}
    how["dilation"] = list(call.dilation)
    if call.which == "forward":
        shape = call.output
        made = graph.conv_fprop(tensor("x", call.input), tensor("w", call.weight), **how)
    elif call.which == "data gradient":
        shape = call.input
        made = graph.conv_dgrad(tensor("y", call.output), tensor("w", call.weight), **how)
    else:
        shape = call.weight
        made = graph.conv_wgrad(tensor("x", call.input), tensor("y", call.output), **how)
    made.set_output(True).set_data_type(kind).set_dim(list(shape))
    made.set_stride(_strides(shape, call.channels_last))
    try:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([library.heur_mode.A])
    except (RuntimeError, library.cudnnGraphNotSupportedError):
        return None
    for place in range(graph.get_execution_plan_count()):
        try:
            graph.build_plan_at_index(place)
        except (RuntimeError, library.cudnnGraphNotSupportedError):
            continue
        return graph.get_workspace_size_plan_at_index(place)
    return None


def _strides(shape: tuple[int, ...], channels_last: bool) -> list[int]:
    order = [0, 2, 3, 1] if channels_last else [0, 1, 2, 3]
    strides, size = [0] * 4, 1
    for axis in reversed(order):
        strides[axis] = size
        size *= shape[axis]
    return strides


def work(call: Convolution) -> float:
    """FLOP a byte."""
    elements = sum(math.prod(s) for s in (call.input, call.weight, call.output))
    flops = 2 * math.prod(call.output) * math.prod(call.weight[1:])
    return flops / (elements * call.element_bytes)


def main() -> None:
    device = cudnn.create_device_properties(json.dumps(A100))
    calls = list(convolutions())
    print(f"cuDNN {cudnn.backend_version()}, {len(calls)} convolutions\n")
    print("| type, format, pass | FLOP a byte | convolutions | without workspace | "
          "others: median of asked / copies |\n|---|---|---|---|---|")  # fmt: skip
    for element_bytes, channels_last in ((4, False), (2, False), (4, True), (2, True)):
        for which in ("forward", "data gradient", "weight gradient"):
            rows = []
            for call in calls:
                if call.which == which:
                    call = replace(call, element_bytes=element_bytes, channels_last=channels_last)
                    if (nbytes := asked(call, device)) is not None:
                        copies = convolution_bytes(call, ALWAYS)
                        rows.append((work(call), nbytes, copies))
            _print(f"float{8 * element_bytes}, channels {'last' if channels_last else 'first'}, "
                   f"{which}", rows)  # fmt: skip


def _print(name: str, rows: list[tuple[float, int, int]]) -> None:
    for low, high in pairwise(STEPS_OF_WORK):
        here = [(nbytes, copies) for w, nbytes, copies in rows if low <= w < high]
        if not here:
            continue
        # Less than a twentieth of the copies is scratch of another kind.
        some = [nbytes / copies for nbytes, copies in here if copies and nbytes > copies / 20]
        share = 100 * (1 - sum(n > 1 << 20 for n, _ in here) / len(here))
        ratio = f"{statistics.median(some):.2f}" if some else "-"
        print(f"| {name} | {low} to {high} | {len(here)} | {share:.0f} % | {ratio} |")


if __name__ == "__main__":
    main()
