"""The speeds of a record as verdicts take them: rows by rounds, as logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ffprof.compare.looks import look_of
from ffprof.compare.summary import Row, rate
from ffprof.records.audit import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Logarithms of images per second, by row and round; every row has every round.

    ``floors`` are variances between processes of a row that a calibration found on this machine.
    """

    rows: tuple[str, ...]
    logs: tuple[tuple[float, ...], ...]
    floors: tuple[float, ...]

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return len(self.logs[0]) if self.logs else 0

    def array(self) -> NDArray[np.float64]:
        """As an array of rows by rounds."""
        import numpy as np

        return np.array(self.logs, dtype=float)

    def of(self, rows: Sequence[str]) -> Rates:
        """These rows only, in this order."""
        places = [self.rows.index(row) for row in rows]
        return Rates(
            rows=tuple(rows),
            logs=tuple(self.logs[at] for at in places),
            floors=tuple(self.floors[at] for at in places),
        )


def rates_of(record: Record, rows: Sequence[Row]) -> Rates:
    """The rounds that all of ``rows`` have, as far as the last look that they reach.

    Rounds between two looks do not count before the next one is reached, and those after the last
    never: whoever looked after every round would be wrong more often than is stated.
    """
    names = [row.workload for row in rows]
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    for trial in record.trials:
        if trial.workload in found and trial.outcome == "ok" and trial.throughput:
            found[trial.workload][trial.round] = math.log(rate(trial))
    common = sorted(set.intersection(*(set(of) for of in found.values()))) if found else []
    look = look_of(len(common))
    if look is not None:
        common = common[:look]
    return Rates(
        rows=tuple(names),
        logs=tuple(tuple(found[n][r] for r in common) for n in names),
        floors=tuple(record.noise.get(n, 0.0) ** 2 for n in names),
    )
