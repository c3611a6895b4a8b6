"""Checkpointing of the blocks that a model repeats: all, every second, or their attention alone.

Blocks are the modules that stand in a row: the children of a ``Sequential``, ``ModuleList`` or
``ModuleDict`` that have children themselves, or of rows in it. A model that checkpoints by itself,
by a method ``gradient_checkpointing_enable`` as models of transformers have, is asked to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from ffprof.estimator.advice.change import Change
from ffprof.estimator.advice.scene import Scene, on_models

Which = Literal["all", "second", "attention"]
_ROWS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_UNCALLED = (nn.ModuleList, nn.ModuleDict)
_SEGMENTS = 4  # of a row of single layers
_OWN = "gradient_checkpointing_enable"


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What can be checkpointed in a model: expressions that find it, and how many there are.

    ``rows`` hold ``count`` blocks, ``attentions`` are in them. ``single`` are rows of single
    layers. ``by_itself``: the model does it if it is asked; ``each``: its blocks can be told
    one by one.
    """

    rows: tuple[str, ...]
    count: int
    attentions: int
    single: tuple[str, ...]
    by_itself: bool
    each: bool
    caches: bool


def blocks_of(model: nn.Module) -> Blocks:
    """What a model repeats."""
    rows = _rows(model)
    every = [block for _, blocks in rows for block in blocks]
    return Blocks(
        rows=tuple(path for path, _ in rows),
        count=len(every),
        attentions=len(_attentions(every)),
        single=() if rows else tuple(path for path, _ in _singles(model)),
        by_itself=callable(getattr(model, _OWN, None)),
        each=bool(every) and all(hasattr(block, "gradient_checkpointing") for block in every),
        caches=_caches(model),
    )


def checkpointed(blocks: Blocks) -> Iterator[Change]:
    """The changes that such a model allows."""
    if blocks.count >= 2:
        yield _change("all", f"each block checkpointed ({blocks.count})", blocks)
        if blocks.each or not blocks.by_itself:
            half = f"({(blocks.count + 1) // 2} of {blocks.count})"
            yield _change("second", f"every second block checkpointed {half}", blocks)
        if blocks.attentions:
            title = f"attention checkpointed ({blocks.attentions})"
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
    if callable(getattr(model, _OWN, None)):
        _ask(scene, model)
    else:
        _wrap(scene, _every(model))


def _second(scene: Scene, model: nn.Module) -> None:
    if callable(getattr(model, _OWN, None)):
        _ask(scene, model)
        for block in _every(model)[1::2]:
            scene.replace(block, "gradient_checkpointing", False)
    else:
        _wrap(scene, _every(model)[::2])


def _attention(scene: Scene, model: nn.Module) -> None:
    if _caches(model):
        scene.replace(model.config, "use_cache", False)
    _wrap(scene, _attentions(_every(model)))


_apply: dict[Which, Callable[[Scene, nn.Module], None]] = {
    "all": _all, "second": _second, "attention": _attention,
}  # fmt: skip


def _ask(scene: Scene, model: Any) -> None:
    for module in model.modules():
        for name in ("gradient_checkpointing", "_gradient_checkpointing_func"):
            if name in vars(module):
                scene.replace(module, name, getattr(module, name))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _cut_singles(scene: Scene, model: nn.Module) -> None:
    for _, row in _singles(model):
        run = functools.partial(checkpoint_sequential, list(row), _SEGMENTS, use_reentrant=False)
        scene.replace(row, "forward", run)


def _every(model: nn.Module) -> list[nn.Module]:
    return [block for _, blocks in _rows(model) for block in blocks]


def _rows(model: nn.Module) -> list[tuple[str, list[nn.Module]]]:
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
        found.append((_expression(path, row, parts, direct, names), parts))
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


def _singles(model: nn.Module) -> list[tuple[str, nn.Sequential]]:
    """Rows of so many single layers that they can be cut into segments."""
    return [
        (f"model.{path}" if path else "model", module)
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


def _caches(model: Any) -> bool:
    return getattr(getattr(model, "config", None), "use_cache", False) is True


def _expression(
    path: str,
    row: nn.Module,
    parts: Sequence[nn.Module],
    direct: Sequence[nn.Module],
    names: Mapping[nn.Module, str],
) -> str:
    if list(parts) != list(direct):
        listed = ", ".join(repr(names[part]) for part in parts)
        return f"map(model.get_submodule, [{listed}])"
    name = f"model.{path}" if path else "model"
    return f"{name}.values()" if isinstance(row, nn.ModuleDict) else name


_WRAP = "    {name}.forward = functools.partial(checkpoint, {name}.forward, use_reentrant=False)\n"
_IMPORTS = "import functools\nfrom torch.utils.checkpoint import checkpoint\n\n"
_MAKE = 'model.gradient_checkpointing_enable({"use_reentrant": False})\n'


def _code(which: Which, blocks: Blocks) -> str:
    rows = "[" + ", ".join(f"*{row}" for row in blocks.rows) + "]"
    real = f"blocks = [block for block in {rows} if any(block.children())]\n"
    if which != "attention" and blocks.by_itself:
        if which == "all":
            return _MAKE
        each = "for block in blocks[1::2]:\n    block.gradient_checkpointing = False\n"
        return _MAKE + real + each
    if which != "attention":
        some = "blocks" if which == "all" else "blocks[::2]"
        return _IMPORTS + real + f"for block in {some}:\n" + _WRAP.format(name="block")
    cache = "model.config.use_cache = False\n" if blocks.caches else ""
    some = (
        "for block in blocks:\n    for part in block.modules():\n"
        '        if "Attention" in type(part).__name__:  # the outermost of each block\n'
    )
    return _IMPORTS + real + cache + some + "        " + _WRAP.format(name="part")


def _single_code(rows: Sequence[str]) -> str:
    made = "import functools\nfrom torch.utils.checkpoint import checkpoint_sequential\n\n"
    for row in rows:
        made += (
            f"{row}.forward = functools.partial(\n"
            f"    checkpoint_sequential, list({row}), {_SEGMENTS}, use_reentrant=False\n)\n"
        )
    return made
