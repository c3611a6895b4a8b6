"""Which module's work is going on, told to the allocator, whose history then has it.

In forward, PyTorch's global hooks of modules tell. In backward, nodes of the graph do: when the
forward of a module is over, each node that it made gets a hook, which tells whose it is before it
runs. No hook holds a tensor, and none runs after a node, since PyTorch would then hold the node's
inputs for longer: what is allocated when is the same as without.

With ``torch.compile`` all hooks go, because they would be compiled as well.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import UserDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary, ref

from ffprof.nulldevice.script.report import Held

_MOST_PARTS = 100  # of a path
_MOST_VALUES = 10_000  # among which tensors are looked for
# What a module or a tensor of a class that nobody thought of may raise here: the script goes on.
SURPRISES = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
_MARK = "|"  # between the number of a forward and a path in what the allocator is told


class Modules:
    """Follows the modules of this process."""

    def __init__(self) -> None:
        self.stopped = False  # by torch.compile, or because this PyTorch cannot be told
        self._handles: list[Any] = []
        # Weakly held: a module that the script lets go must let go of its memory.
        self._parents: WeakKeyDictionary[Any, list[ref[Any]]] = WeakKeyDictionary()
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._roots: list[str] = []  # classes, in the order in which they first ran
        self._forwards = 0  # of outermost modules
        self._here = threading.local()

    def install(self) -> None:
        """Follow what modules do from now on."""
        import torch
        from torch.nn.modules import module

        if not hasattr(torch._C, "_cuda_setMemoryMetadata"):
            self.stopped = True
            return
        self._tell = torch._C._cuda_setMemoryMetadata
        self._number = torch._C._autograd._get_sequence_nr
        self._compiling = torch.compiler.is_compiling  # as torch.export does
        self._handles = [
            module.register_module_module_registration_hook(self._registered),
            module.register_module_forward_pre_hook(self._enters),
            module.register_module_forward_hook(self._leaves, always_call=True),
        ]
        os.register_at_fork(after_in_child=self._let_go)  # what loads data is not watched
        compile_ = torch.compile

        @functools.wraps(compile_)
        def compiling(*args: Any, **kwargs: Any) -> Any:
            self.stop()
            return compile_(*args, **kwargs)

        vars(torch)["compile"] = compiling

    def stop(self) -> None:
        """Follow nothing any more."""
        if not self.stopped:
            self._let_go()
            self._tell("")

    def _let_go(self) -> None:
        self.stopped = True
        for handle in self._handles:
            handle.remove()

    def outside(self) -> None:
        """This thread does work of no module now."""
        if not self.stopped:
            self._tell("")

    def parameters(self) -> Iterator[tuple[str, Any]]:
        """Those of all modules that are known, each with the path of its module; some are None.

        Not by a module's own methods, which a script may have overridden.
        """
        for module, path in list(self._names.items()):
            yield from ((path, one) for one in vars(module).get("_parameters", {}).values())

    def buffers(self) -> Iterator[tuple[str, Any]]:
        """The same of buffers."""
        for module, path in list(self._names.items()):
            yield from ((path, one) for one in vars(module).get("_buffers", {}).values())

    def of(self, held: Held) -> Held:
        """What is held, by paths as the user knows them; by none if modules were not followed."""
        if self.stopped:
            return replace(held, modules=())
        names = self._shown(one.module for one in held.modules if one.module)
        return replace(
            held,
            modules=tuple(replace(one, module=names.get(one.module, "")) for one in held.modules),
        )

    def _shown(self, paths: Iterable[str]) -> dict[str, str]:
        """Paths as the user knows them; with more than one model, the class of each comes first."""
        known = list(paths)
        parts = {path: path.partition(":")[::2] for path in known}
        numbers = sorted({int(number) for number, _ in parts.values()})
        models = {number for number, inner in parts.values() if inner}
        found = {}
        for path, (number, inner) in parts.items():
            root = self._roots[int(number)]
            same = [n for n in numbers if self._roots[n] == root]
            if len(same) > 1:
                root = f"{root}({same.index(int(number)) + 1})"
            inside = [root, inner] if len(models) > 1 else [inner]
            found[path] = ".".join(part for part in inside if part) or root
        return found

    def _registered(self, parent: Any, name: str, child: Any) -> None:
        try:
            if child is not None and child not in self._names:
                known = [one for one in self._parents.get(child, ()) if one() is not None]
                self._parents[child] = [*known, ref(parent)]
        except SURPRISES:
            self.stop()

    def _enters(self, module: Any, args: Any) -> None:
        if self.stopped or self._compiling():
            return
        try:
            stack = self._stack()
            # Replicas of a model run in threads, which are parts of one forward.
            if not stack and threading.current_thread() is threading.main_thread():
                self._forwards += 1
            path = self._names.get(module)
            if path is None:
                path = self._named(module)
            stack.append((path, self._number(), _nodes(args)))
            self._tell(f"{self._forwards}{_MARK}{path}")
        except SURPRISES:
            self.stop()

    def _leaves(self, module: Any, args: Any, output: Any) -> None:
        if self.stopped or self._compiling():
            return
        try:
            stack = self._stack()
            if stack:
                path, number, before = stack.pop()
                self._own(output, path, number, before)
                self._tell(f"{self._forwards}{_MARK}{stack[-1][0]}" if stack else "")
        except SURPRISES:
            self.stop()

    def _own(self, output: Any, path: str, number: int, before: list[Any]) -> None:
        """Hook the nodes between what came in and what comes out, but those of inner modules."""
        seen = {id(node): node for node in before}
        left = _nodes(output)
        while left:
            node = left.pop()
            # A leaf's node has the highest number of all, and makes nothing.
            if node is None or id(node) in seen or hasattr(node, "variable"):
                continue
            seen[id(node)] = node
            if node._sequence_nr() < number:
                continue
            if "ffprof" not in node.metadata:
                node.metadata["ffprof"] = path
                node.register_prehook(functools.partial(self._runs, path))
            left += [inner for inner, _ in node.next_functions]

    def _runs(self, path: str, gradients: Any) -> None:
        if not self.stopped:
            self._tell(f"{self._forwards}{_MARK}{path}")

    def _stack(self) -> list[tuple[str, int, list[Any]]]:
        try:
            found: list[tuple[str, int, list[Any]]] = self._here.stack
        except AttributeError:
            found = self._here.stack = []
        return found

    def _parent(self, module: Any) -> Any:
        """The first of those that still are: later ones may be slices of a list."""
        parents = (one() for one in self._parents.get(module, ()))
        return next((one for one in parents if one is not None), None)

    def _named(self, module: Any) -> str:
        """Name everything of the model that a module is part of."""
        root, parent = module, self._parent(module)
        for _ in range(_MOST_PARTS):
            if parent is None:
                break
            root, parent = parent, self._parent(parent)
        kind = type(root).__name__
        replica = getattr(root, "_is_replica", False) and kind in self._roots
        if replica:
            number = self._roots.index(kind)
        else:
            number = len(self._roots)
            self._roots.append(kind)
        for name, one in root.named_modules():
            self._names.setdefault(one, f"{number}:{name}")
        return self._names.setdefault(module, f"{number}:{type(module).__name__}")


def module_of(event: Mapping[str, Any], forwards: int) -> tuple[str, int]:
    """The path that an event of the allocator's history was told, and the latest forward then.

    ``forwards`` is the latest before. What a thread was told in an earlier one is no longer true.
    """
    number, mark, path = event.get("user_metadata", "").partition(_MARK)
    if not mark or not number.isdigit():
        return "", forwards
    forwards, told = max(forwards, int(number)), int(number)
    return (path if told == forwards else ""), forwards


def _nodes(values: Any) -> list[Any]:
    """The nodes that made the tensors among values, nested in lists, tuples and dictionaries."""
    import torch

    found: list[Any] = []
    left = [values]
    seen: set[int] = set()  # one may hold itself
    with torch._C.DisableTorchFunctionSubclass():
        while left and len(seen) < _MOST_VALUES:
            one = left.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, torch.Tensor):
                if one.grad_fn is not None:
                    found.append(one.grad_fn)
            elif isinstance(one, (dict, UserDict)):
                left += one.values()
            elif isinstance(one, (list, tuple)):
                left += one
    return found
