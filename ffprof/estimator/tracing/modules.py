"""Which module's work is going on: paths as ``named_modules`` gives them, in backward too.

In forward a stack of running modules is kept by PyTorch's global module hooks. Every operator
that autograd records there takes a sequence number; in backward the node that runs tells its own,
and so which module recorded it.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from ffprof.errors import UsageError


class ModulePaths:
    """Follows modules while it is entered; they are named as they are put together."""

    def __init__(self) -> None:
        # Held weakly: a module that the user lets go must let go of its memory.
        self._parents: WeakKeyDictionary[nn.Module, tuple[ref[nn.Module], str]]
        self._parents = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[nn.Module, None] = WeakKeyDictionary()  # in order
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._stack: list[str] = []
        self._recorded: dict[int, str] = {}
        self._parameters: dict[int, str] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> ModulePaths:
        self._handles = [
            register_module_module_registration_hook(self._registered),
            register_module_parameter_registration_hook(self._holds),
            register_module_buffer_registration_hook(self._holds),
            register_module_forward_pre_hook(self._enters),
            register_module_forward_hook(self._leaves, always_call=True),
        ]
        return self

    def __exit__(self, *exc_info: object) -> None:
        for handle in self._handles:
            handle.remove()

    def name(self, root: nn.Module) -> None:
        """Name the parts of a module that was put together before."""
        for name, module in root.named_modules():
            self._names[module] = name
            self._kept[module] = None
            for parameter in module.parameters(recurse=False):
                self._parameters.setdefault(id(parameter), name)

    def modules(self) -> list[nn.Module]:
        """All that are known so far."""
        return list(self._kept)

    def here(self) -> str:
        """The innermost running module."""
        return self._stack[-1] if self._stack else ""

    def record(self) -> None:
        """Remember what autograd recorded last as this module's."""
        if self._stack:
            # The first to ask made it: operators that autograd does not record take no number.
            number = torch._C._autograd._get_sequence_nr() - 1
            self._recorded.setdefault(number, self._stack[-1])

    def of_node(self, node: Any) -> str:
        """The module whose forward recorded a node of the graph."""
        path = self._recorded.get(node._sequence_nr())
        if path is None and hasattr(node, "variable"):
            return self.of_parameter(node.variable)
        return path or ""

    def of_module(self, module: nn.Module) -> str:
        """The path of a module, whether it has run or not."""
        named = self._names.get(module)
        return self._path(module) if named is None else named

    def of_parameter(self, tensor: torch.Tensor) -> str:
        """The path of the module that holds a parameter, as far as modules were called."""
        return self._parameters.get(id(tensor), "")

    def _registered(self, parent: nn.Module, name: str, child: nn.Module | None) -> None:
        if child is not None:
            self._kept[parent] = self._kept[child] = None
            if not self._held(child):  # part of a list is a list of its own: the whole one counts
                self._parents[child] = (ref(parent), name)

    def _held(self, child: nn.Module) -> bool:
        """Whether the module that it was put into first holds it still."""
        if child not in self._parents:
            return False
        parent, name = self._parents[child]
        holder = parent()
        return holder is not None and holder._modules.get(name) is child

    def _holds(self, module: nn.Module, *_: Any) -> None:
        self._kept[module] = None

    def _enters(self, module: nn.Module, _: Any) -> None:
        if isinstance(module, OptimizedModule):
            raise UsageError(
                "a module is compiled: its kernels keep other tensors than the traced operators",
                "estimate it before torch.compile, or measure it on a GPU",
            )
        path = self._names.get(module)
        if path is None:
            path = self._names[module] = self._path(module)
            self._kept[module] = None
            for parameter in module.parameters(recurse=False):
                self._parameters.setdefault(id(parameter), path)
        self._stack.append(path)

    def _leaves(self, *_: Any) -> None:
        if self._stack:
            self._stack.pop()

    def _path(self, module: nn.Module) -> str:
        parts: list[str] = []
        at: nn.Module | None = module
        while at is not None and at in self._parents and len(parts) < 100:
            parent, name = self._parents[at]
            at = parent()
            parts.append(name)
        return ".".join(reversed(parts)) or type(module).__name__
