"""Checkpointing of the blocks that a model repeats: all, every second, or their attention alone.

Blocks are the modules that stand in a row: the children of a ``Sequential``, ``ModuleList`` or
``ModuleDict`` that have children themselves, or of rows in it. A model that checkpoints by itself,
by a method ``gradient_checkpointing_enable`` as models of transformers have, is asked to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any, Literal

from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from ffprof.estimator.advice.change import Change
from ffprof.estimator.advice.scene import Scene, on_models
from ffprof.workload.signature import names_of

Which = Literal["all", "second", "attention"]
_ROWS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_UNCALLED = (nn.ModuleList, nn.ModuleDict)
_SEGMENTS = 4  # of a row of single layers
_OWN = "gradient_checkpointing_enable"
_FLAG = "gradient_checkpointing"  # of a block that can be told by itself


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What can be checkpointed in models: expressions that find it, and how many there are.

    ``rows`` hold ``count`` blocks, ``attentions`` are those in them. ``single`` are rows of single
    layers. ``by_itself`` are models that do it if they are asked; ``each``: blocks can be told one
    by one. ``caches`` are the models that keep keys and values.
    """

    rows: tuple[str, ...] = ()
    count: int = 0
    attentions: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    by_itself: tuple[str, ...] = ()
    each: bool = False
    caches: tuple[str, ...] = ()

    def __add__(self, other: Blocks) -> Blocks:
        return Blocks(
            rows=(*self.rows, *other.rows),
            count=self.count + other.count,
            attentions=(*self.attentions, *other.attentions),
            single=(*self.single, *other.single),
            by_itself=(*self.by_itself, *other.by_itself),
            each=self.each or other.each,
            caches=(*self.caches, *other.caches),
        )


def blocks_of(model: nn.Module, called: str = "model") -> Blocks:
    """What a model repeats; ``called`` is its name in code."""
    rows = _rows(model, called)
    every = [block for _, blocks in rows for block in blocks]
    paths = {module: _path(called, name) for name, module in model.named_modules()}
    return Blocks(
        rows=tuple(expression for expression, _ in rows),
        count=len(every),
        attentions=tuple(paths[one] for one in _attentions(every)),
        single=() if rows else tuple(expression for expression, _ in _singles(model, called)),
        by_itself=tuple(paths[one] for one in _willing(model)),
        each=bool(every) and all(hasattr(block, _FLAG) for block in every),
        caches=tuple(paths[one] for one in _caching(model)),
    )


def checkpointed(blocks: Blocks) -> Iterator[Change]:
    """The changes that such models allow."""
    if blocks.count >= 2:
        yield _change("all", f"each block checkpointed ({blocks.count})", blocks)
        if blocks.each or not blocks.by_itself:
            half = f"({(blocks.count + 1) // 2} of {blocks.count})"
            yield _change("second", f"every second block checkpointed {half}", blocks)
        if blocks.attentions:
            title = f"attention checkpointed ({len(blocks.attentions)})"
            yield _change("attention", title, blocks)
    elif blocks.by_itself:
        yield _change("all", "gradient checkpointing", blocks)
    elif blocks.single:
        yield Change(
            id="checkpoint",
            title=f"{_SEGMENTS} segments checkpointed",
            family="checkpointing",
            effect="same",
            code=_single_code(blocks.single),
            applied=lambda build, extra: on_models(build, _cut_singles),
        )


_IDS = {"all": "checkpoint", "second": "checkpoint-second", "attention": "checkpoint-attention"}


def _change(which: Which, title: str, blocks: Blocks) -> Change:
    return Change(
        id=_IDS[which],
        title=title,
        family="checkpointing",
        effect="same",
        code=_code(which, blocks),
        applied=lambda build, extra: on_models(build, _apply[which]),
    )


def _wrap(scene: Scene, modules: Sequence[nn.Module]) -> None:
    for one in modules:
        run = functools.partial(checkpoint, one.forward, use_reentrant=False)
        scene.replace(one, "forward", run)


def _all(scene: Scene, model: nn.Module) -> None:
    if not _asked(scene, model):
        _wrap(scene, _every(model))


def _second(scene: Scene, model: nn.Module) -> None:
    if _asked(scene, model):
        for block in _every(model)[1::2]:
            scene.replace(block, _FLAG, False)
    else:
        _wrap(scene, _every(model)[::2])


def _attention(scene: Scene, model: nn.Module) -> None:
    for one in _caching(model):
        scene.replace(one.config, "use_cache", False)
    _wrap(scene, _attentions(_every(model)))


_apply: dict[Which, Callable[[Scene, nn.Module], None]] = {
    "all": _all, "second": _second, "attention": _attention,
}  # fmt: skip


def _asked(scene: Scene, model: nn.Module) -> bool:
    """Ask what checkpoints by itself to do so; whether there is any."""
    willing = _willing(model)
    for one in willing:
        for module in one.modules():
            for name in (_FLAG, "_gradient_checkpointing_func"):
                if name in vars(module):
                    scene.replace(module, name, getattr(module, name))
        ask = getattr(one, _OWN)
        if "gradient_checkpointing_kwargs" in names_of(ask):
            ask(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            ask()
    return bool(willing)


def _willing(model: nn.Module) -> list[Any]:
    """The outermost modules that checkpoint by themselves."""
    found: list[Any] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module not in inside and callable(getattr(module, _OWN, None)):
            found.append(module)
            inside.update(module.modules())
    return found


def _caching(model: nn.Module) -> list[Any]:
    return [
        module
        for module in model.modules()
        if getattr(getattr(module, "config", None), "use_cache", False) is True
    ][:1]


def _cut_singles(scene: Scene, model: nn.Module) -> None:
    for _, row in _singles(model, ""):
        run = functools.partial(checkpoint_sequential, list(row), _SEGMENTS, use_reentrant=False)
        scene.replace(row, "forward", run)


def _every(model: nn.Module) -> list[nn.Module]:
    return [block for _, blocks in _rows(model, "") for block in blocks]


def _rows(model: nn.Module, called: str) -> list[tuple[str, list[nn.Module]]]:
    """(expression, blocks) of all rows that stand in no block of another."""
    found: list[tuple[str, list[nn.Module]]] = []
    inside: set[nn.Module] = set()
    names = {module: name for name, module in model.named_modules()}
    for row, path in names.items():
        if row in inside or type(row) not in _ROWS:
            continue
        parts = _parts(row)
        if len(parts) < 2:
            continue
        direct = [child for child in row.children() if any(True for _ in child.children())]
        found.append((_expression(called, path, row, parts, direct, names), parts))
        inside.update(row.modules())
    return found


def _parts(row: nn.Module) -> list[nn.Module]:
    """The blocks of a row; of a row in it, its own, if there are any."""
    found: list[nn.Module] = []
    for child in row.children():
        if type(child) in _ROWS and (parts := _parts(child)):
            found += parts
        elif any(True for _ in child.children()) and type(child) not in _UNCALLED:
            found.append(child)
    return found


def _singles(model: nn.Module, called: str) -> list[tuple[str, nn.Sequential]]:
    """Rows of so many single layers that they can be cut into segments."""
    return [
        (_path(called, path), module)
        for path, module in model.named_modules()
        if type(module) is nn.Sequential and len(module) >= 2 * _SEGMENTS
    ]


def _attentions(blocks: Sequence[nn.Module]) -> list[nn.Module]:
    found: list[nn.Module] = []
    for block in blocks:
        inside: set[nn.Module] = set()
        for module in block.modules():
            if module is not block and module not in inside and _attends(module):
                found.append(module)
                inside.update(module.modules())
    return found


def _attends(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()


def _expression(
    called: str,
    path: str,
    row: nn.Module,
    parts: Sequence[nn.Module],
    direct: Sequence[nn.Module],
    names: Mapping[nn.Module, str],
) -> str:
    if list(parts) != list(direct):
        listed = ", ".join(repr(names[part]) for part in parts)
        return f"map({called}.get_submodule, [{listed}])"
    name = _path(called, path)
    return f"{name}.values()" if isinstance(row, nn.ModuleDict) else name


def _path(called: str, path: str) -> str:
    """A module in code."""
    if not path:
        return called
    plain = all(part.isidentifier() and not iskeyword(part) for part in path.split("."))
    return f"{called}.{path}" if plain else f"{called}.get_submodule({path!r})"


_WRAP = "    {name}.forward = functools.partial(checkpoint, {name}.forward, use_reentrant=False)\n"
_IMPORTS = "import functools\nfrom torch.utils.checkpoint import checkpoint\n\n"
_MAKE = '{name}.gradient_checkpointing_enable({{"use_reentrant": False}})\n'


def _code(which: Which, blocks: Blocks) -> str:
    if which == "attention":
        cache = "".join(f"{name}.config.use_cache = False\n" for name in blocks.caches)
        listed = "".join(f"    {name},\n" for name in blocks.attentions)
        return f"{_IMPORTS}{cache}parts = [\n{listed}]\nfor part in parts:\n" + _WRAP.format(
            name="part"
        )
    rows = "[" + ", ".join(f"*{row}" for row in blocks.rows) + "]"
    real = f"blocks = [block for block in {rows} if any(block.children())]\n"
    if blocks.by_itself:
        make = "".join(_MAKE.format(name=name) for name in blocks.by_itself)
        each = f"for block in blocks[1::2]:\n    block.{_FLAG} = False\n"
        return make if which == "all" else make + real + each
    some = "blocks" if which == "all" else "blocks[::2]"
    return _IMPORTS + real + f"for block in {some}:\n" + _WRAP.format(name="block")


def _single_code(rows: Sequence[str]) -> str:
    made = "import functools\nfrom torch.utils.checkpoint import checkpoint_sequential\n\n"
    for row in rows:
        made += (
            f"{row}.forward = functools.partial(\n"
            f"    checkpoint_sequential, list({row}), {_SEGMENTS}, use_reentrant=False\n)\n"
        )
    return made
