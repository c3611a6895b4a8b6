"""A card's profile as a file, for rows that were measured on a card that none is shipped for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_card(facts: Mapping[str, object], folder: Path, confidence: str, source: str) -> Path:
    """Write ``card.toml``: ``confidence`` is of both totals, ``source`` of all figures."""
    lines = [f"{name} = {value!r}".replace("'", '"') for name, value in facts.items()]
    levels = ("nvml_total_bytes", "cuda_total_bytes")
    lines += ["[confidence]", *(f'{name} = "{confidence}"' for name in levels), "[sources]"]
    lines += [f'{name} = "{source}"' for name in facts if name not in ("name", "class")]
    path = folder / "card.toml"
    path.write_text("\n".join(lines) + "\n")
    return path
