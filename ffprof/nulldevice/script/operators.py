"""The operators of one step, from PyTorch's own execution trace: what each reads, writes, computes.

The trace is written by PyTorch itself while the step runs, below Python and after each operator, so
the step allocates what it would without. It has every call of the dispatcher, those that operators
make among them; what counts is the outermost that does not consist of others, as a mode of the
dispatcher would see it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ffprof.nulldevice.script.report import OperatorRuns, StepOperators

_MOST_BYTES = 2**27  # of a trace that is read: some 125,000 calls
_MOST_ROWS = 5000
_SCHEMA = re.compile(r"(\w+)::(\w+)(?:\.(\w+))?\(")
_TENSOR = re.compile(r"Tensor\(([^)]*)\)")
_FLOATS = {"float", "double", "c10::Half", "c10::BFloat16"}
_HALVES = {"c10::Half": "fp16", "c10::BFloat16": "bf16"}
_BACKWARD, _OPTIMIZER = "autograd::engine::evaluate_function", "Optimizer.step#"
_COPIES = {"_to_copy", "copy_"}
_RECURRENT = {"_cudnn_rnn": 1, "_cudnn_rnn_backward": 2}  # passes over the weights
# What the trace of another PyTorch raises where it is read; it must not end the script.
_UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError,
)  # fmt: skip
_Node = Mapping[str, Any]


class Operators:
    """Of the step that runs between ``begin`` and ``end``."""

    def __init__(self, path: Path) -> None:
        self._path, self._open = path, False

    def begin(self) -> None:
        """A step begins. Nothing is traced if the script has a trace of its own."""
        from torch._C import _profiler

        if not self._open and _profiler._add_execution_trace_observer(str(self._path)):
            self._open = True
            with _quiet():
                _profiler._enable_execution_trace_observer()

    def end(self) -> StepOperators | None:
        """The step is over; None if there is nothing to tell."""
        from torch._C import _profiler

        if not self._open:
            return None
        self._open = False
        with _quiet():
            _profiler._disable_execution_trace_observer()
            _profiler._remove_execution_trace_observer()
        try:
            if self._path.stat().st_size > _MOST_BYTES:
                return None
            found = operators_of(json.loads(self._path.read_text())["nodes"])
        except _UNREADABLE:
            return None
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink()
        return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch warns on standard error that it traces, which is not the script's affair."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def operators_of(nodes: Sequence[_Node]) -> StepOperators:
    """What runs on CUDA devices, equal runs together; those that take most FLOPs come first.

    Args:
        nodes: of an execution trace, as PyTorch writes it.
    """
    import torch

    inside: dict[int, list[_Node]] = defaultdict(list)
    known = {node["id"] for node in nodes}
    left = []
    for node in nodes:
        parent = node["ctrl_deps"]
        if parent == node["id"]:
            left.append((node, "forward"))
        elif parent not in known:  # not over when the trace was: the optimizer, whose step ends it
            left.append((node, "optimizer"))
        else:
            inside[parent].append(node)
    found: Counter[OperatorRuns] = Counter()
    while left:
        node, phase = left.pop()
        if node["name"].startswith(_BACKWARD):
            phase = "backward"
        elif node["name"].startswith(_OPTIMIZER):
            phase = "optimizer"
        inner = inside[node["id"]]
        func = _function(node)
        # What autocast wraps is called again with what it has cast.
        if func is None or _consists_of_others(func) or any(_same(node, one) for one in inner):
            left += [(one, phase) for one in inner]
            continue
        one = _run(node, func, phase)
        if one is not None:
            found[one] += 1
    rows = sorted(found.items(), key=lambda item: -item[0].flops * item[1])
    return StepOperators(
        rows=tuple(_times(one, count) for one, count in rows[:_MOST_ROWS]),
        count=sum(found.values()),
        complete=len(rows) <= _MOST_ROWS,
        tf32_products=bool(torch.backends.cuda.matmul.allow_tf32),
        tf32_convolutions=bool(torch.backends.cudnn.allow_tf32),
    )


def _times(one: OperatorRuns, count: int) -> OperatorRuns:
    return OperatorRuns(**vars(one) | {"times": count})


def _function(node: _Node) -> Any:
    """The operator of PyTorch that a call is of; None for other marks in the trace."""
    import torch

    schema = next((a["value"] for a in node["attrs"] if a["name"] == "op_schema"), "")
    match = _SCHEMA.match(schema)
    if match is None:
        return None
    space, name, overload = match.groups()
    packet = getattr(getattr(torch.ops, space), name, None)
    return getattr(packet, overload or "default", None)


def _consists_of_others(func: Any) -> bool:
    import torch

    return bool(
        torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    )


def _same(node: _Node, inner: _Node) -> bool:
    return bool(inner["name"] == node["name"])


def _run(node: _Node, func: Any, phase: str) -> OperatorRuns | None:
    from ffprof.instruments.operators import does_work

    inputs = list(_tensors(node["inputs"]))
    outputs = list(_tensors(node["outputs"]))
    every = [*inputs, *outputs]
    devices = {device for *_, device in every}
    cuda = sorted(device for device in devices if device.startswith("cuda"))
    if not cuda or not does_work(func):
        return None
    name = str(func._overloadpacket)
    if name.partition(".")[2] in _COPIES and len(devices) > 1:
        phase = "data"
    floats = [(size, kind) for _, _, size, kind, _ in every if kind in _FLOATS]
    element, kind = min(floats, default=(every[0][2], ""))
    return OperatorRuns(
        name=name,
        phase=phase,
        device=int(cuda[0].partition(":")[2] or 0),
        flops=_flops(node, func),
        read_bytes=sum(n * size for _, n, size, _, _ in inputs),
        written_bytes=sum(n * size for _, n, size, _, _ in outputs),
        element_bytes=element,
        half=_HALVES.get(kind, ""),
        channels_last="convolution" in name and _is_channels_last(node),
    )


def _tensors(side: _Node) -> Iterator[tuple[Sequence[int], int, int, str, str]]:
    """(shape, elements, bytes of one, type, device) of all tensors, those in lists included."""
    for value, shape, kind in zip(side["values"], side["shapes"], side["types"], strict=True):
        yield from _inside(value, shape, kind)


def _inside(
    value: Any, shape: Any, kind: str
) -> Iterator[tuple[Sequence[int], int, int, str, str]]:
    if kind.startswith("Tensor("):
        *_, elements, size, device = value
        if not device:
            return  # one that was left out
        yield shape, int(elements), int(size), kind[len("Tensor(") : -1], str(device)
    elif kind.startswith("GenericList["):
        kinds = [f"Tensor({one})" for one in _TENSOR.findall(kind)]
        if len(kinds) == len(value):
            for one, inner, its in zip(value, shape, kinds, strict=True):
                yield from _inside(one, inner, its)


def _is_channels_last(node: _Node) -> bool:
    strides = node["inputs"].get("strides", [])
    return any(len(one) == 4 and one[1] == 1 and one[3] != 1 for one in strides[:2])


def _flops(node: _Node, func: Any) -> int:
    """By PyTorch's formulas, a multiply-add as two; 0 where it has none."""
    from torch.utils.flop_counter import flop_registry

    from ffprof.instruments.operators import flops_of

    name = func._overloadpacket.__name__
    if name in _RECURRENT:
        return _RECURRENT[name] * _of_recurrent(node)
    if func._overloadpacket not in flop_registry:
        return 0
    given = [_argument(*one) for one in _zipped(node["inputs"])]
    # The trace has all in the order of the schema; formulas take some by name, as operators do.
    known = func._schema.arguments[: len(given)]
    named = {a.name: one for a, one in zip(known, given, strict=False) if a.kwarg_only}
    arguments = given[: len(given) - len(named)]
    results = [_argument(*one) for one in _zipped(node["outputs"])]
    try:
        return flops_of(func, arguments, named, results[0] if len(results) == 1 else results)
    except (AssertionError, AttributeError, IndexError, TypeError, ValueError):
        return 0  # a formula for other arguments than these


def _of_recurrent(node: _Node) -> int:
    """Every weight matrix is applied once a step of the sequence and row of the batch."""
    (_, sequence, _), (values, shapes, kind), *_ = _zipped(node["inputs"])
    matrices = [shape for shape, *_ in _inside(values, shapes, kind) if len(shape) == 2]
    rows = math.prod(sequence[:-1])  # of sequences that are packed, all together
    return int(2 * rows * sum(map(math.prod, matrices)))


def _zipped(side: _Node) -> Iterator[tuple[Any, Any, str]]:
    yield from zip(side["values"], side["shapes"], side["types"], strict=True)


def _argument(value: Any, shape: Any, kind: str) -> Any:
    """A tensor without memory for a tensor; other values as they are."""
    import torch

    if kind.startswith("Tensor("):
        return torch.empty(shape, device="meta") if value[-1] else None
    return None if value == "<None>" else value
