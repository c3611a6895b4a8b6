"""The largest size that fits, decided by runs of which few may run out of memory.

The search starts at a proposal that is a few percent off. It brackets the border with steps of 2 %
of the proposal that double, and then divides the bracket. A run that runs out of memory costs more
than one that does not: it may disturb the display, and a driver may answer it by spilling to the
host. So the bracket is divided by an egg-drop search: with k losses left, r runs tell sum(C(r, i),
i = 1..k) sizes apart, and the next size is chosen so that what is left on either side can still be
distinguished in the fewest runs. With losses enough that is bisection.

Where what fits has holes, the border that is found is one of the borders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ffprof.records.frontier import Tried

Probe = Callable[[int], Tried]

MAX_OOM = 4  # of one search
MAX_RUNS = 24  # of one search; a border up to 1,000 within 9 % of the proposal needs 12
FIRST_STEP = 0.02  # of the proposal, upwards; it doubles
FIRST_FALL = 0.1  # of the proposal, downwards; then by half


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found: ``largest`` ran and fitted, 0 if none did.

    ``first_failing`` is the smallest larger size that was shown not to fit. ``proven``: it is the
    next one, and a run or a clear estimate showed it. ``message`` says what is not proven.
    """

    largest: int
    first_failing: int | None
    proven: bool
    tried: tuple[Tried, ...]
    message: str = ""


class Search:
    """One search; what was found so far can be requested at any time.

    Args:
        probe: runs a size. The outcomes ``ok`` and ``oom`` say whether it fits; any other ends the
            search.
        proposal: the size to begin with, 1 or more.
        cap: the largest size there is.
        guess: estimates a size. One that clearly does not fit may stand for a run that is not
            allowed any more.
        max_oom: how many runs may run out of memory, 1 or more.
        max_runs: how many runs there may be.
    """

    def __init__(
        self,
        probe: Probe,
        *,
        proposal: int,
        cap: int,
        guess: Probe | None = None,
        max_oom: int = MAX_OOM,
        max_runs: int = MAX_RUNS,
    ) -> None:
        self._probe, self._guess, self._cap = probe, guess, cap
        self._start = min(max(proposal, 1), cap)
        self._step = max(1, round(FIRST_STEP * self._start))
        self._losses_left, self._runs_left, self._max_oom = max_oom, max_runs, max_oom
        self._low, self._high = 0, cap + 1  # largest that fits, smallest above that does not
        self._tried: list[Tried] = []
        self._ends = ""

    @property
    def border(self) -> tuple[int, int | None]:
        """The largest size that ran, and the smallest above it that ran out of memory."""
        return self._low, self._high if self._high <= self._cap else None

    def run(self) -> SearchResult:
        """Search to the end."""
        while not self._ends and self._high - self._low > 1:
            if self._losses_left == 0:
                self._ends = f"{self._max_oom} runs ran out of memory, which is the limit"
            elif self._runs_left == 0:
                self._ends = f"{len(self._tried)} runs were made, which is the limit"
            else:
                self._take(self._next())
                continue
            self._estimate()
        return self.found()

    def found(self, ends: str = "") -> SearchResult:
        """What is known so far; ``ends`` says why it is no more than that."""
        low, high = self.border
        by_estimate = any(
            t.size == low + 1 and t.evidence == "estimated" and _clearly_not(t) for t in self._tried
        )
        proven = high == low + 1 or by_estimate
        return SearchResult(
            largest=low,
            first_failing=low + 1 if proven else high,
            proven=proven,
            tried=tuple(self._tried),
            message=self._told(ends or self._ends, by_estimate),
        )

    def _next(self) -> int:
        low, high = self.border
        if high is None:
            if not low:
                return self._start
            at, self._step = min(low + self._step, self._cap), 2 * self._step
            return at
        if not low:
            return self._below(high)
        return low + division(high - low - 1, self._losses_left, self._runs_left)

    def _below(self, high: int) -> int:
        # The last loss is kept for the smallest size: it fits, or nothing does.
        if self._losses_left == 1 or self._runs_left == 1:
            return 1
        fall = round(FIRST_FALL * high) if high == self._start else high // 2
        return max(1, high - max(1, fall))

    def _take(self, size: int) -> None:
        tried = self._probe(size)
        self._tried.append(tried)
        self._runs_left -= 1
        if tried.outcome == "ok":
            self._low = size
        elif tried.outcome == "oom":
            self._high = size
            self._losses_left -= 1
        else:
            self._ends = f"the run of {size} gave no result ({tried.outcome}: {tried.message})"

    def _estimate(self) -> None:
        if self._guess is not None:
            self._tried.append(self._guess(self._low + 1))

    def _told(self, ends: str, by_estimate: bool) -> str:
        low, high = self.border
        if high == low + 1:
            return ""
        told = [ends] if ends else []
        if by_estimate:
            told.append(f"{low + 1:,} was estimated not to fit, not run")
        elif low == self._cap:
            told.append(f"{low:,} fits, and larger ones were not tried")
        elif high is not None:
            told.append(f"between {low:,} and {high:,} nothing is proven")
        elif low:
            told.append(f"{low:,} fits, and nothing larger was shown not to")
        else:
            told.append("nothing is proven")
        return "; ".join(told)


def told_apart(losses: int, runs: int) -> int:
    """How many unknown sizes that many runs can tell apart, if so many of them may be lost."""
    return sum(math.comb(runs, number) for number in range(1, losses + 1))


def fewest_runs(unknown: int, losses: int) -> int:
    """The fewest runs that tell so many sizes apart, in the worst case."""
    runs = 0
    while told_apart(losses, runs) < unknown:
        runs += 1
    return runs


def division(unknown: int, losses: int, runs: int) -> int:
    """Which of ``unknown`` sizes, counted from 1, to run next; all three are 1 or more.

    As near to the middle as the fewest runs allow; if ``runs`` are too few to tell all apart, only
    every so manieth size is considered, so that the gap which stays is the smallest possible.
    """
    width = 1
    if told_apart(losses, runs) < unknown:
        # A loss at the last size is known already: unknown + 1 sizes in parts of this width.
        width = -(-(unknown + 1) // (told_apart(losses, runs) + 1))
    parts = max(1, -(-(unknown + 1) // width) - 1)
    after = fewest_runs(parts, losses) - 1
    most = 1 + told_apart(losses - 1, after)  # below it, a loss less must do
    least = parts - told_apart(losses, after)
    return width * min(max((parts + 1) // 2, least), most)


def _clearly_not(tried: Tried) -> bool:
    return tried.fit == "does not fit"
