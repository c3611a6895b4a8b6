"""What is run on what: the lines under the title of a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from ffprof.records.audit import (
    Budget,
    Evidence,
    Machine,
    Record,
    are_own_steps,
    is_limited,
    is_unmatched,
)
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.frontier import FrontierRecord
from ffprof.records.learning import LearningRecord, Task, Training
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.units import format_bytes

_SCHEDULE = ("batch", "micro_batch", "precision", "memory_format")


def setting(
    record: Record | FrontierRecord,
    varied: Mapping[str, str | None] | None = None,
    limit: str | None = None,
) -> tuple[str, ...]:
    """Recipe, data, machine and budget.

    Args:
        record: an audit, a frontier or a capacity.
        varied: what stands for a field of the recipe; None leaves it out.
        limit: what stands for the line of a measured budget.
    """
    recipe, budget = record.recipe, record.budget
    own = {name: str(getattr(recipe, name)) for name in ("backbone", *_SCHEDULE)}
    said: dict[str, str | None] = {**own, **(varied or {})}
    names = {"batch": "effective batch ", "micro_batch": "micro-batch "}
    fixed = [
        names.get(name, "") + text.replace("_", " ")
        for name in _SCHEDULE
        if (text := said[name]) is not None
    ]
    held: tuple[str, ...] = ()
    if record.evidence == "estimated":
        held = (estimated_budget(budget),)
    elif budget.total_bytes is not None:
        held = (limit or _budget(budget, record.evidence),)
    if binds_no_row(record):
        return (
            f"the user's own: network, data, batch, precision and optimizer; seed {recipe.seed}",
            _machine(record),
            *held,
        )
    network = f"{said['backbone']} at width {recipe.width:g}, {recipe.norm} norm"
    if isinstance(record, Record) and _own_networks(record):
        network = "networks of the user's own"
    return (
        f"{network}, {images(recipe)}, {recipe.classes} classes",
        *(_data(record) if isinstance(record, Record) else ()),
        f"{', '.join(fixed)}, {recipe.optimizer.name}, seed {recipe.seed}",
        _machine(record),
        *held,
    )


def binds_no_row(record: Record | FrontierRecord) -> bool:
    """Whether all rows are steps of the user's own, which nothing of the recipe says a thing of."""
    if isinstance(record, FrontierRecord):
        names = {one.workload for one in record.points}
        names |= {one.workload for one in record.capacities}
        return bool(names) and are_own_steps(names, record.files)
    steps = {name for file in record.plan.files for name in file.steps}
    steps |= {name for name, row in record.ledger.items() if is_unmatched(row.facts)}
    return set(record.plan.workloads) <= steps


def _own_networks(record: Record) -> bool:
    """Whether every row that was looked at has a network of its own in the recipe's stead."""
    found = {row.facts.get("backbone") for row in record.ledger.values() if row.facts}
    return found == {"own: unmatched"}


def images(recipe: Recipe) -> str:
    """``cifar10 images 3x32x32``."""
    return f"{recipe.data} images {recipe.channels}x{recipe.image_size}x{recipe.image_size}"


def processor(
    record: Record | FrontierRecord | CalibrationRecord | LearningRecord,
) -> str:
    """The device and the CPU threads."""
    threads = record.recipe.threads
    return (
        f"{record.machine.gpu or record.machine.cpu}, {threads or 'default'} CPU "
        f"thread{'' if threads == 1 else 's'}"
    )


def torch_of(machine: Machine) -> str:
    """``torch 2.14.1``."""
    return f"torch {machine.versions.get('torch', '?')}"


def _machine(record: Record | FrontierRecord) -> str:
    machine = record.machine
    commit = f", commit {machine.commit}" if machine.commit else ""
    if record.evidence == "estimated":
        return f"nothing was run: traced with {torch_of(machine)}{commit}"
    if machine.null_device:
        gpu = (machine.gpu or "").removeprefix("NVIDIA ")
        return f"no GPU: CUDA code of {torch_of(machine)} on a null device, {gpu}{commit}"
    if isinstance(record, FrontierRecord) and record.kind == "capacity":
        return f"{machine.gpu or machine.cpu}, {torch_of(machine)}{commit}"
    return f"{processor(record)}, {torch_of(machine)}{commit}"


def estimated_budget(budget: Budget) -> str:
    """The budget of an estimate, and what is likely left out of it."""
    drawn = f", less {format_bytes(budget.display_bytes)} for a desktop"
    return (
        f"{budget.card or 'a card'} sold with {budget.requested}: CUDA offers "
        f"{format_bytes(budget.total_bytes)}{drawn if budget.display_bytes else ''}, of which "
        f"context and libraries likely take {format_bytes(budget.debit_bytes)}"
    )


def _budget(budget: Budget, evidence: Evidence) -> str:
    """What trials on a GPU had, and what was left out of it."""
    offers = f"CUDA offers {format_bytes(budget.total_bytes)}"
    if budget.display_bytes:
        offers += f", a desktop takes {format_bytes(budget.display_bytes)}"
    if budget.debit_bytes is None:
        debit = "what context and libraries take is not known yet"
    else:
        debit = f"context and libraries take {format_bytes(budget.debit_bytes)}"
        debit += f", tensors have {format_bytes(budget.limit_bytes)}"
    if not is_limited(budget, evidence):
        return f"{budget.card or 'this GPU'}: {offers}; {debit}"
    card = budget.card or "a card"
    return f"limited to {card} sold with {budget.requested}: {offers} there; {debit}"


def _data(record: Record) -> tuple[str, ...]:
    """Which files were read, for data from files."""
    recipe = record.recipe
    if recipe.data not in FILE_DATA:
        return ()
    known = (row.facts.get("images_per_epoch") for row in record.ledger.values())
    count = next((number for number in known if isinstance(number, int)), None)
    return (
        f"data {PurePath(recipe.data_root).name} ({recipe.data_fingerprint[:12]}), "
        + (f"{count:,} images an epoch, " if count else "")
        + f"loader workers {recipe.data_workers or 0}",
    )


def learning_setting(record: LearningRecord) -> tuple[str, ...]:
    """Of a learning study: data and task, recipe, training, seeds, machine and budget."""
    recipe, training, plan, machine = record.recipe, record.training, record.plan, record.machine
    optimizer = recipe.optimizer
    warmup = f" after {training.warmup_epochs:g} of warm-up" if training.warmup_epochs else ""
    target = "" if training.target is None else f", target {100 * training.target:g} %"
    commit = f", commit {machine.commit}" if machine.commit else ""
    held: tuple[str, ...] = ()
    if record.budget.total_bytes is not None:
        held = (_budget(record.budget, record.evidence),)
    seeds = len(plan.seeds)
    tuned = ", both tuned for each workload" if plan.tuning else ""
    began = "from " if plan.tuning else ""
    return (
        f"{recipe.backbone} at width {recipe.width:g}, {recipe.norm} norm, {images(recipe)}, "
        f"{_tasks(plan.tasks, plan.swept)}",
        f"effective batch {recipe.batch}, {recipe.precision}, {optimizer.name}, {began}learning "
        f"rate {optimizer.lr:g}, weight decay {optimizer.weight_decay:g}{tuned}",
        f"{training.epochs} epoch{'' if training.epochs == 1 else 's'}, "
        f"{training.schedule}{warmup}, "
        f"{_augmentation(training, recipe)}, validation on "
        f"{100 * training.validation:g} % of the training set{target}",
        f"{seeds} seed{'' if seeds == 1 else 's'} ({_numbers(plan.seeds)}); "
        f"{processor(record)}, {torch_of(machine)}{commit}",
        *held,
    )


def _tasks(tasks: tuple[Task, ...], swept: str) -> str:
    """What all tasks have in common, and what is swept."""
    told = []
    if swept != "classes":
        classes = list(dict.fromkeys(f"{task.classes:,}" for task in tasks))
        told.append(f"{' or '.join(classes)} classes")
    first = tasks[0]
    if first.drawn_by is not None:
        told.append(f"classes drawn by {first.drawn_by}")
    if swept != "labels" and first.labels == "coarse":
        told.append("coarse labels")
    if swept != "samples" and first.samples:
        told.append(f"{first.samples:,} images")
    if swept != "samples-per-class" and first.samples_per_class:
        told.append(f"{first.samples_per_class:,} images a class")
    if first.teacher is not None:
        one = first.teacher
        if len({task.teacher.samples for task in tasks if task.teacher}) == 1:
            told.append(f"{one.samples:,} images")
        told.append(
            f"labelled by a random network of depth {one.depth} and width {one.width} (seed "
            f"{one.seed})"
            + (f", {100 * one.label_noise:g} % of the labels random" if one.label_noise else "")
            + (", classes as often as another" if one.balanced else ", classes as it gives them")
        )
    if swept:
        told.append(f"swept over {swept.replace('-', ' ')}")
    return ", ".join(told)


def _numbers(seeds: tuple[int, ...]) -> str:
    if len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _augmentation(training: Training, recipe: Recipe) -> str:
    if not training.augmentation or recipe.data == "teacher":  # white noise is not augmented
        return "without augmentation"
    shift = training.shift
    pixels = f"shifts of up to {shift} pixels" if shift else "flips only"
    return "with augmentation" + ("" if shift is None else f" ({pixels})")
