"""Trials that were disturbed are taken again, a bounded number of times.

Discarding without a bound would wait for ever on a card that is always too hot, and would keep
only what suits. So a slot has ``A_TRIAL`` more chances, an audit a quarter of its trials; what is
disturbed after that is kept and marked.
"""

from __future__ import annotations

from ffprof.harness.process.monitor import LASTING
from ffprof.records.audit import Trial

A_TRIAL = 2
LEAST = 4  # of an audit
SHARE = 0.25  # of an audit's trials


class Retakes:
    """Counts what is left of the retakes of an audit of so many trials."""

    def __init__(self, planned: int, used: int = 0) -> None:
        self._left = max(LEAST, round(SHARE * planned)) - used

    def wanted(self, trial: Trial) -> bool:
        """Whether this trial should be taken again; asking counts it.

        What was refused or ran into its time limit is not, nor what others on the GPU disturb
        that were there from the beginning: it would be so again.
        """
        curable = [d for d in trial.conditions.disturbances if not d.startswith(LASTING)]
        if not curable or trial.attempt >= A_TRIAL or self._left <= 0:
            return False
        if trial.outcome in ("refused", "timeout"):
            return False
        self._left -= 1
        return True
