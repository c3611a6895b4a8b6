"""What a model is called: ``hf:bert-base-uncased``, ``timm:resnet50``, ``torchvision:vit_b_16``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ffprof.errors import UsageError, did_you_mean

Library = Literal["hf", "timm", "torchvision"]
# Examples a step where none are asked for. That of transformers is the default of its Trainer.
_BATCH: dict[Library, int] = {"hf": 8, "timm": 64, "torchvision": 64}
MOST_RANK = 65_536
_SHOWN = 90  # characters of a name in tables and records


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """A model of a library, and how it is to be tuned.

    ``config`` is the whole path of a config.json, if it is on disk and not of the hub. ``lora`` is
    the rank of the adapters that are trained in place of the model; 0: all of it is trained.
    """

    library: Library
    name: str
    config: str = ""
    lora: int = 0

    @property
    def id(self) -> str:
        """As tables and records call it; of a path only its last part."""
        name = self.name
        if self.config:
            path = Path(self.config)
            name = path.parent.name if path.name == "config.json" else path.stem
        return f"{self.library}:{name[:_SHOWN]}"

    @property
    def batch(self) -> int:
        """Examples a step where none are asked for."""
        return _BATCH[self.library]


def is_model(word: str) -> bool:
    """Whether a word begins as the name of a model does."""
    return word.partition(":")[0] in _BATCH and ":" in word


def may_be_model(word: str) -> bool:
    """Whether a word is likely to be meant as the name of a model, its library mistyped or not."""
    library, colon, name = word.partition(":")
    return bool(colon and name and library.isalpha() and did_you_mean(library.lower(), _BATCH))


def parse_model(word: str, lora: int | None = None) -> ModelName:
    """The model that a word names; whether there is one, its library says in a child.

    Args:
        word: the library and the name, with a colon between.
        lora: the rank of adapters; None trains the whole model.

    Raises:
        UsageError: no such library, no name, no such file, or no such rank.
    """
    library, colon, name = word.partition(":")
    if not colon or library not in _BATCH:
        known = ", ".join(f"{one}:" for one in _BATCH)
        near = did_you_mean(library.lower(), _BATCH) if colon else ""
        raise UsageError(
            f"{word!r} is no model", f"{near}write {known} and its name, such as hf:gpt2"
        )
    if not name.strip() or not name.isprintable() or len(name) > 4096:
        raise UsageError(f"{word!r} names no model", f"write one behind {library}:")
    if lora is not None and library != "hf":
        raise UsageError(f"--lora is about models of hf:, not of {library}:", "leave it out")
    if lora is not None and not 1 <= lora <= MOST_RANK:
        raise UsageError(f"a rank of {lora}", f"give one of 1 to {MOST_RANK:,}")
    config = _config_of(name) if library == "hf" else ""
    return ModelName(library=library, name=name, config=config, lora=lora or 0)


def _config_of(name: str) -> str:
    """The whole path of the config.json that a path means; empty if it is a name of the hub.

    Raises:
        UsageError: it is a path, and there is no config.
    """
    path = Path(name).expanduser()
    typed_as_path = name.startswith((".", "/", "~")) or path.suffix == ".json"
    try:
        found = path / "config.json" if path.is_dir() else path
        if found.is_file():
            return str(found.resolve())
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"cannot read {name}: {error}", "name a folder with a config.json"
        ) from error
    if typed_as_path:
        raise UsageError(
            f"hf:{name}: there is no {'config.json in it' if path.is_dir() else 'such file'}",
            "name a folder with a config.json, or a model of the hub",
        )
    return ""
