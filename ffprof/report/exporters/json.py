"""JSON in which nothing is left that a terminal, or the runner that logs it, might obey."""

from __future__ import annotations

import json


def safe_json(text: str, *, plain: bool = False) -> str:
    """The same value, with what might be obeyed written as escapes.

    ``plain``: with everything that is not ASCII.
    """
    # Outside of strings there are only line feeds.
    lines = [
        line
        if line.isprintable() and (line.isascii() or not plain)
        else _escaped(line, plain=plain)
        for line in text.split("\n")
    ]
    # A runner obeys older commands anywhere in a line; newer ones begin it, as no value does.
    return "\n".join(lines).replace("##[", "#\\u0023[")


def _escaped(line: str, *, plain: bool) -> str:
    return "".join(
        c if c.isprintable() and (c.isascii() or not plain) else json.dumps(c)[1:-1] for c in line
    )
