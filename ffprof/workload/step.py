"""A step that does everything by itself: ``build(device) -> step``, with sizes that can be asked.

Nothing of it is matched with other rows: model, data, optimizer and precision are its own. It may
stand in a file (``ffprof.workload.user_file``) or be that of a model by its name
(``ffprof.workload.models``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from ffprof.errors import UsageError
from ffprof.records.recipe import Recipe
from ffprof.workload.description import Description


@dataclass(frozen=True, kw_only=True)
class StepDescription(Description):
    """A step that does everything by itself; ``images`` None: not declared.

    ``takes_batch``: its ``build`` has an argument of that name, which is the recipe's batch.
    ``sizes`` are its other arguments whose defaults are whole numbers, with what they are.
    """

    images: int | None = None
    takes_batch: bool = False
    sizes: tuple[tuple[str, int], ...] = ()

    def micro_batch(self, recipe: Recipe) -> int:
        """Images a step: as declared, or the recipe's batch."""
        return recipe.batch if self.images is None else self.images

    def build(self, recipe: Recipe, device: Any) -> Any:
        """What the ``build`` of the step returns."""
        build: Any = self.load()
        arguments = dict(self.sizes) | ({"batch": recipe.batch} if self.takes_batch else {})
        return build(device, **arguments)

    def with_size(self, name: str, value: int) -> Self:
        """The same step with another size.

        Raises:
            UsageError: its ``build`` has no such argument.
        """
        if name not in dict(self.sizes):
            known = [*(["batch"] if self.takes_batch else []), *dict(self.sizes)]
            raise UsageError(
                f"{self.id} has no size {name!r}",
                f"its build takes {', '.join(known)}"
                if known
                else f"give its build an argument for it: def build(device, {name}=8)",
            )
        sizes = tuple((one, value if one == name else now) for one, now in self.sizes)
        return replace(self, sizes=sizes)
