"""Figures that cannot be: what no process can have taken or reached is not a measurement.

Such a figure of memory is null, as one that was not read, with the reason in ``unread``; an
impossible speed is a disturbance of its trial. So nothing is judged by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from ffprof.records.audit import Fact, Machine, Record
from ffprof.records.frontier import Capacity, FrontierRecord
from ffprof.records.learning import LearningRecord, LearningRun
from ffprof.records.trial import Memory, Throughput, Trial

if TYPE_CHECKING:
    from ffprof.records.store import AnyRecord

IMPOSSIBLE = "not possible"  # how the reasons begin
# What is counted of tensors, which parameters are a part of.
_OF_TENSORS = (
    "allocated_peak_bytes",
    "reserved_peak_bytes",
    "cold_allocated_peak_bytes",
    "cold_reserved_peak_bytes",
    "live_tensor_peak_bytes",
)
_PEAKS = (*_OF_TENSORS, "process_peak_bytes", "device_peak_bytes", "host_peak_bytes")
# The allocator hands out parts of what it has reserved.
_PAIRS = (
    ("allocated_peak_bytes", "reserved_peak_bytes"),
    ("cold_allocated_peak_bytes", "cold_reserved_peak_bytes"),
)
_MOST_BYTES = 2**45  # 32 TiB: no machine or GPU has as much
_OF_MACHINE = 2  # times what a machine has is what nothing on it takes, swap and spills included
_MOST_RATE = 1e9  # images per second
_SAME_IMAGES = 1e-3  # by which images a step, from a speed and its steps, may be off
_HALF = 2  # bytes of a parameter, where its type is not known: no trained one has fewer
_One = TypeVar("_One", Trial, LearningRun)


def plausible_trial(
    trial: Trial,
    facts: Mapping[str, Fact],
    batch: int | None,
    machine: Machine | None = None,
) -> Trial:
    """The trial without what is not possible.

    Args:
        trial: as it was measured, estimated or read.
        facts: of its row in the ledger; empty where there are none.
        batch: images of the recipe's optimizer step; None where it is not known.
        machine: that it ran on, whose memory is an upper bound.
    """
    if trial.outcome != "ok" and not trial.memory.fit:
        return trial  # of what failed, nothing is judged by its figures
    trial = _with_memory(trial, parameter_bytes(trial.memory, facts), _most(trial, machine))
    speed = trial.throughput
    if speed is None:
        return trial
    rate = f"{IMPOSSIBLE}: {speed.images_per_second:.6g} images/s are"
    if speed.images_per_second > _MOST_RATE:
        told = f"{rate} more than any machine makes"
    elif batch is None or _of_its_steps(speed, (batch, trial.micro_batch)):
        return trial
    else:
        told = f"{rate} not what its {len(speed.step_seconds)} steps give"
    if told in trial.conditions.disturbances:
        return trial
    disturbances = (*trial.conditions.disturbances, told)
    conditions = trial.conditions.model_copy(update={"disturbances": disturbances})
    return trial.model_copy(update={"conditions": conditions})


def _most(trial: Trial, machine: Machine | None) -> int:
    if machine is None or trial.evidence == "estimated":
        return _MOST_BYTES
    has = machine.gpu_total_bytes if trial.device == "cuda" else machine.ram_bytes
    return min(_MOST_BYTES, _OF_MACHINE * has) if has else _MOST_BYTES


def plausible_run(run: LearningRun) -> LearningRun:
    """A run of a learning study without what is not possible."""
    if run.outcome != "ok":
        return run
    return _with_memory(run, max(parameter_bytes(run.memory, {}), _HALF * (run.parameters or 0)))


def plausible(record: AnyRecord) -> AnyRecord:
    """The record without what is not possible; the same object if all is."""
    if isinstance(record, Record):
        rows, batch = record.ledger, record.recipe.batch
        trials = tuple(
            plausible_trial(
                t, rows[t.workload].facts if t.workload in rows else {}, batch, record.machine
            )
            for t in record.trials
        )
        if _same(trials, record.trials):
            return record
        return record.model_copy(update={"trials": trials})
    if isinstance(record, FrontierRecord):
        points = []
        for point in record.points:
            taken = tuple(plausible_trial(t, {}, point.batch, record.machine) for t in point.trials)
            same = _same(taken, point.trials)
            points.append(point if same else point.model_copy(update={"trials": taken}))
        found = tuple(map(_with_tried, record.capacities))
        if _same(points, record.points) and _same(found, record.capacities):
            return record
        return record.model_copy(update={"points": tuple(points), "capacities": found})
    if isinstance(record, LearningRecord):
        runs = tuple(map(plausible_run, record.runs))
        return record if _same(runs, record.runs) else record.model_copy(update={"runs": runs})
    return record


def impossible(record: AnyRecord) -> tuple[str, ...]:
    """What was not possible in a record that ``plausible`` has gone over, by workload."""
    lines: Counter[str] = Counter()
    for one in _measured(record):
        told = [
            f"{field.removesuffix('_bytes').replace('_', ' ')} {reason}"
            for field, reason in one.memory.unread.items()
            if reason.startswith(IMPOSSIBLE)
        ]
        told += [d for d in one.conditions.disturbances if d.startswith(IMPOSSIBLE)]
        lines.update(f"{one.workload}: {text}" for text in told)
    if isinstance(record, FrontierRecord):
        lines.update(
            f"{one.workload} at {tried.size}: reserved {tried.message}"
            for one in record.capacities
            for tried in one.tried
            if tried.message.startswith(IMPOSSIBLE)
        )
    return tuple(
        f"{text} (in {count} trials)" if count > 1 else text for text, count in lines.items()
    )


def parameter_bytes(memory: Memory, facts: Mapping[str, Fact]) -> int:
    """What the parameters of a row take at least, as far as its record says."""
    count = facts.get("parameters_with_gradient")
    each = 4 if facts.get("parameter_dtypes") == "float32" else _HALF
    known = count * each if isinstance(count, int) and not isinstance(count, bool) else 0
    return max(known, memory.breakdown.get("parameters_bytes", 0))


def _with_memory(one: _One, least: int, most: int = _MOST_BYTES) -> _One:
    memory = one.memory
    found = {
        name: _why(name, value, least, most if name != "host_peak_bytes" else _MOST_BYTES)
        for name in _PEAKS
        if (value := getattr(memory, name)) is not None
    }
    wrong = {name: why for name, why in found.items() if why}
    for allocated, reserved in _PAIRS:
        low, high = getattr(memory, reserved), getattr(memory, allocated)
        if low is not None and high is not None and low < high:
            why = f"{IMPOSSIBLE}: {low:,} B reserved, and {high:,} B allocated of them"
            wrong = {allocated: why, reserved: why} | wrong
    if not wrong:
        return one
    update = {**dict.fromkeys(wrong), "unread": {**memory.unread, **wrong}}
    return one.model_copy(update={"memory": memory.model_copy(update=update)})


def _with_tried(one: Capacity) -> Capacity:
    wrong = [t for t in one.tried if t.outcome == "ok" and 0 in (t.reserved_bytes, t.process_bytes)]
    if not wrong:
        return one
    update = {"reserved_bytes": None, "process_bytes": None, "message": f"{IMPOSSIBLE}: 0 B"}
    tried = tuple(t.model_copy(update=update) if t in wrong else t for t in one.tried)
    return one.model_copy(update={"tried": tried})


def _why(name: str, value: int, least: int, most: int) -> str:
    if value == 0:
        return f"{IMPOSSIBLE}: 0 B"
    if value > most:
        return f"{IMPOSSIBLE}: {value:,} B, more than the machine has"
    if name in _OF_TENSORS and value < least:
        return f"{IMPOSSIBLE}: {value:,} B, and its parameters alone take {least:,} B"
    return ""


def _of_its_steps(speed: Throughput, sizes: tuple[int, ...]) -> bool:
    steps = speed.step_seconds
    images = speed.images_per_second * sum(steps) / len(steps)
    return any(abs(images - size) <= _SAME_IMAGES * size for size in sizes)


def _measured(record: AnyRecord) -> Iterator[Trial | LearningRun]:
    if isinstance(record, Record):
        yield from record.trials
    elif isinstance(record, FrontierRecord):
        for point in record.points:
            yield from point.trials
    elif isinstance(record, LearningRecord):
        yield from record.runs


def _same(ours: Sequence[object], theirs: Sequence[object]) -> bool:
    return all(one is other for one, other in zip(ours, theirs, strict=True))
