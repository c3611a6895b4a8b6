"""One row a workload: its trials drawn together, without judging them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ffprof.records.audit import Outcome, Record, Trial
from ffprof.records.learning import LearningRun
from ffprof.records.trial import Fit

# The figure that memory verdicts are about, by device. Both repeat to the byte.
MEMORY_FIELD = {"cpu": "live_tensor_peak_bytes", "cuda": "allocated_peak_bytes"}
MEMORY_MEANING = {
    "cpu": "peak of live tensors",
    "cuda": "allocated peak, steady",
}


# Seed, weights and data are the same in all rounds, so first losses are, up to the order in which a
# GPU adds up.
SAME_START = 1e-3


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Middle and range of one figure over trials."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the trials of one workload say together.

    ``memory`` is the figure of ``MEMORY_FIELD``. ``data_wait`` is the part of the timed phase, 0 to
    1, that steps waited for their batches (median over trials). ``marks`` are reasons for which
    the row must not win a claim, in words. ``disturbed`` is what spoiled trials that were kept, and
    ``retaken`` how many were repeated. ``uncapped`` is what is reserved where the card is not
    the limit, and ``energy`` joules an image. ``fit`` and what follows it are of estimates: whether
    it fits the budget, how often cached memory is freed under it in one step, what is reserved
    with ``expandable_segments``, the range of the whole process, and the band of the speed.
    """

    workload: str
    method: str
    schedule: str
    family: str
    micro_batch: int | None
    device: str
    outcome: Outcome | None
    outcomes: dict[Outcome, int]
    memory: Spread | None
    reserved: Spread | None
    cold_reserved: Spread | None
    capped: bool
    device_peak: Spread | None
    host_peak: Spread | None
    throughput: Spread | None
    data_wait: float | None
    loss_first: float | None
    loss_last: float | None
    marks: tuple[str, ...]
    messages: tuple[str, ...]

    planned: int
    skipped: int = 0
    disturbed: tuple[str, ...] = ()
    retaken: int = 0
    uncapped: int | None = None
    energy: Spread | None = None
    fit: Fit | None = None
    retries: int | None = None
    expandable_reserved: Spread | None = None
    process_range: tuple[int, int] | None = None
    speed_range: tuple[float, float] | None = None

    @property
    def settled(self) -> Outcome | None:
        """The outcome if all rounds that were run agree on it, else None."""
        return next(iter(self.outcomes)) if len(self.outcomes) == 1 else None

    @property
    def usable(self) -> bool:
        """Ok in every round that was run, with its figures, and learning: it may be compared."""
        return self.settled == "ok" and self.memory is not None and not self.marks

    def told_outcomes(self) -> str:
        """Outcomes with their counts, in words."""
        if not self.outcomes:
            return "not run"
        return ", ".join(
            f"{count} of {self.planned} {name}" for name, count in self.outcomes.items()
        )


def summarise(record: Record) -> list[Row]:
    """Rows in the order of the plan; a workload without trials has outcome None."""
    trials: dict[str, list[Trial]] = {name: [] for name in record.plan.workloads}
    for trial in record.trials:
        trials[trial.workload].append(trial)
    retaken = Counter(trial.workload for trial in record.discarded)
    return [_row(record, name, some, retaken[name]) for name, some in trials.items()]


def rate(trial: Trial) -> float:
    """Images per second of a trial with outcome ok."""
    if trial.throughput is None:
        raise ValueError(f"trial {trial.id} has no throughput")
    return trial.throughput.images_per_second


def memory_of(trial: Trial | LearningRun) -> int | None:
    """The bytes that memory verdicts are about."""
    value: int | None = getattr(trial.memory, MEMORY_FIELD[trial.device])
    return value


def _row(record: Record, name: str, trials: Sequence[Trial], retaken: int) -> Row:
    good = [t for t in trials if t.outcome == "ok"]
    known = [t for t in trials if t.outcome == "ok" or t.memory.fit]  # an estimate always is
    estimate = next((t for t in trials if t.memory.fit), None)
    outcomes: dict[Outcome, int] = {}
    for trial in trials:
        outcomes[trial.outcome] = outcomes.get(trial.outcome, 0) + 1
    any_trial = trials[0] if trials else None
    losses = [t.loss for t in good if t.loss is not None]
    return Row(
        workload=name,
        method=any_trial.method if any_trial else "",
        schedule=any_trial.schedule if any_trial else "",
        family=record.plan.families.get(name, any_trial.family if any_trial else ""),
        micro_batch=any_trial.micro_batch if any_trial else None,
        device=any_trial.device if any_trial else "cpu",
        outcome=_outcome(outcomes),
        outcomes=outcomes,
        memory=spread_of([memory_of(t) for t in known]),
        reserved=spread_of([t.memory.reserved_peak_bytes for t in known]),
        cold_reserved=spread_of([t.memory.cold_reserved_peak_bytes for t in known]),
        capped=any(t.memory.capped for t in good),
        device_peak=spread_of([t.memory.device_peak_bytes for t in good]),
        host_peak=spread_of([t.memory.host_peak_bytes for t in good]),
        throughput=spread_of([rate(t) if t.throughput else None for t in good]),
        data_wait=_middle([_wait(t) for t in good]),
        loss_first=_middle([loss.first for loss in losses]),
        loss_last=_middle([loss.last for loss in losses]),
        marks=marks_of(good, real=record.recipe.data != "synthetic"),
        messages=tuple(dict.fromkeys(t.message for t in trials if t.message)),
        skipped=max((t.conditions.skipped_optimizer_steps or 0 for t in good), default=0),
        disturbed=tuple(dict.fromkeys(d for t in trials for d in t.conditions.disturbances)),
        retaken=retaken,
        uncapped=_uncapped(record, name),
        energy=spread_of([t.energy.joules_per_image if t.energy else None for t in good]),
        planned=record.plan.rounds,
        fit=estimate.memory.fit if estimate else None,
        retries=estimate.memory.alloc_retries if estimate else None,
        expandable_reserved=spread_of([t.memory.expandable_reserved_peak_bytes for t in known]),
        process_range=estimate.memory.process_range_bytes if estimate else None,
        speed_range=_band(estimate),
    )


def _uncapped(record: Record, name: str) -> int | None:
    found = record.ledger[name].uncapped if name in record.ledger else None
    return found.memory.reserved_peak_bytes if found and found.memory else None


def _band(trial: Trial | None) -> tuple[float, float] | None:
    return trial.throughput.images_per_second_range if trial and trial.throughput else None


def _wait(trial: Trial) -> float | None:
    if trial.throughput is None or trial.throughput.data_wait_seconds is None:
        return None
    whole = sum(trial.throughput.step_seconds)
    return trial.throughput.data_wait_seconds / whole if whole else None


def _outcome(outcomes: dict[Outcome, int]) -> Outcome | None:
    """The worst that happened in any round: a row that sometimes fails is not ok."""
    for bad in ("refused", "crashed", "timeout", "oom"):
        if bad in outcomes:
            return bad
    return "ok" if outcomes else None


def marks_of(trials: Sequence[Trial], *, real: bool) -> tuple[str, ...]:
    """Why these trials must not win anything, in words; ``real``: on images that can be learnt."""
    marks = []
    if any(_took_no_step(trial) for trial in trials):
        marks.append("loss scaling skipped all of its optimizer steps")
    firsts = [t.loss.first for t in trials if t.loss is not None and t.loss.first is not None]
    if firsts and max(firsts) - min(firsts) > SAME_START * max(map(abs, firsts)):
        marks.append("its first loss differs between rounds, so state persists between its trials")
    losses = [t.loss for t in trials if t.loss is not None]
    ran = [t for t in trials if t.evidence != "estimated" and t.throughput is not None]
    if any(trial.loss is None for trial in ran):
        marks.append("it reports no loss")
    if any(not loss.finite for loss in losses):
        marks.append("its loss is not finite")
    elif real and any(not loss.fell for loss in losses):
        marks.append("its loss did not fall")
    return tuple(marks)


def _took_no_step(trial: Trial) -> bool:
    skipped, speed = trial.conditions.skipped_optimizer_steps, trial.throughput
    if skipped is None or speed is None:
        return False
    return skipped >= len(speed.warmup_step_seconds) + 1 + len(speed.step_seconds)


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Middle and range; None if there is no value, or one is not known."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(median=median(known), low=min(known), high=max(known), count=len(known))


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known and len(known) == len(values) else None
