"""The place in a command where a number stands: ``{}``, or the value of a named option.

Words are replaced as words: nothing is quoted, split or given to a shell.
"""

from __future__ import annotations

from dataclasses import dataclass

from ffprof.errors import UsageError
from ffprof.estimator.sizes import CAP

PLACEHOLDER = "{}"
START = 8  # of a search, where the command has no number of its own


@dataclass(frozen=True, kw_only=True)
class Template:
    """A command with ``{}`` in one or more of its words, and the value to start from."""

    words: tuple[str, ...]
    start: int

    def command(self, value: int) -> tuple[str, ...]:
        """The command with the value in every place."""
        return tuple(word.replace(PLACEHOLDER, str(value)) for word in self.words)


def template_of(option: str, name: str, command: tuple[str, ...]) -> Template:
    """Find where the value stands: at every ``{}``, or else at the one number after ``name``.

    Args:
        option: of ffprof, that needs it.
        name: what the user calls the value, such as ``--batch-size``.
        command: its words.

    Raises:
        UsageError: there is no place, or more than one option of that name.
    """
    if any(PLACEHOLDER in word for word in command):
        return Template(words=command, start=START)
    names = {name} if name.startswith("-") else {name, f"--{name}"}
    places = [
        (at, head, number)
        for at, word in enumerate(command)
        for head, number in _numbers(word, command[at - 1] if at else "", names)
    ]
    if len(places) == 1:
        ((at, head, number),) = places
        words = (*command[:at], f"{head}{PLACEHOLDER}", *command[at + 1 :])
        return Template(words=words, start=number)
    written = f"{name} {PLACEHOLDER}" if name.startswith("-") else f"{name}={PLACEHOLDER}"
    fault = f"there is no {PLACEHOLDER} in the command"
    if places:
        fault = f"there are {len(places)} numbers of {name} in the command, and no {PLACEHOLDER}"
    raise UsageError(
        f"{option} {name}: {fault}",
        f"write {PLACEHOLDER} where the value stands: -- python train.py {written}",
    )


def _numbers(word: str, before: str, names: set[str]) -> list[tuple[str, int]]:
    """(what stands before the number in the word, the number), if it is one of a name."""
    head, sign, value = word.rpartition("=")
    if sign and head in names:
        head += sign
    elif before in names:
        head, value = "", word
    else:
        return []
    usable = value.isascii() and value.isdigit() and len(value) <= 6 and 1 <= int(value) <= CAP
    return [(head, int(value))] if usable else []
