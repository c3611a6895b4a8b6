"""What kind of work an operator is, by its name: what limits its speed depends on it."""

from __future__ import annotations

import functools
from typing import Literal

Kind = Literal[
    "convolution", "matrix product", "normalisation", "elementwise", "optimizer", "copy",
    "host transfer", "no work",
]  # fmt: skip

# Operators that only describe memory anew, so that no kernel runs: views and metadata in
# PyTorch's native_functions.yaml.
_VIEWS = frozenset(
    [
        *("view", "_unsafe_view", "_reshape_alias", "reshape", "t", "transpose", "permute"),
        *("expand", "as_strided", "detach", "alias", "slice", "select", "squeeze", "unsqueeze"),
        *("unfold", "split", "split_with_sizes", "chunk", "unbind", "diagonal", "movedim"),
        *("narrow", "view_as", "lift_fresh", "empty", "empty_like", "empty_strided"),
        *("new_empty", "new_empty_strided", "set_", "resize_", "item", "_local_scalar_dense"),
    ]
)
_COPIES = frozenset(["copy_", "_to_copy", "clone", "contiguous", "to", "_foreach_copy_"])
_PRODUCTS = frozenset(
    [
        *("mm", "addmm", "bmm", "baddbmm", "addbmm", "matmul", "linear", "linear_backward"),
        *("addmv", "mv", "dot", "_addmm_activation"),
    ]
)


@functools.cache
def kind_of(name: str, phase: str) -> Kind:
    """The kind of an operator such as ``aten.convolution`` or ``aten.relu_.default``.

    A copy while data are fetched comes from the host. What an optimizer does elementwise is
    kept apart, since it works on all parameters and not on activations.
    """
    parts = name.split(".")
    bare = parts[1] if len(parts) > 1 else parts[0]
    if bare in _VIEWS:
        return "no work"
    if "convolution" in bare or "conv2d" in bare or "conv_transpose" in bare:
        return "convolution"
    if bare in _PRODUCTS or "scaled_dot_product" in bare or "attention" in bare:
        return "matrix product"
    if bare in _COPIES:
        return "host transfer" if phase == "data" else "copy"
    if phase == "optimizer" or bare.startswith(("_foreach", "_fused")):
        return "optimizer"
    if any(word in bare for word in ("batch_norm", "layer_norm", "group_norm", "instance_norm")):
        return "normalisation"
    return "elementwise"


def kernels_of(name: str) -> int:
    """Kernels that one run of an operator starts, at least (reconstructed, not counted).

    A backward operator gives two gradients.
    """
    return 2 if "backward" in name else 1
