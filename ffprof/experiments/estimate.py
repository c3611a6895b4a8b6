"""What ``ffprof estimate`` asks of its children, one workload after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from ffprof.errors import NothingMeasuredError, StoreError, UsageError
from ffprof.estimator.api import allocator_settings
from ffprof.estimator.sizes import (
    Axis,
    Question,
    Sized,
    check_size,
    exponent,
    flat_shape,
    swept,
)
from ffprof.estimator.target import (
    Estimated,
    Target,
    bare_row,
    check_room,
    target_for,
    with_display,
)
from ffprof.estimator.worker import Border, advise_child, border_child, estimate_child
from ffprof.experiments.campaign import Progress
from ffprof.experiments.capacity.probe import Identified, not_found, proposed
from ffprof.experiments.model import ModelRequest
from ffprof.experiments.options import choose_budget
from ffprof.experiments.question import Sweep
from ffprof.experiments.selection import (
    Selection,
    change_recipe,
    check_recipe,
    choose_preset,
    choose_with_files,
    choose_workloads,
    read_sources,
    whole_batches,
)
from ffprof.experiments.session import open_session
from ffprof.experiments.terms import cuda_of
from ffprof.hardware.machine import check_threads, resolve_threads
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending, run_child
from ffprof.records.audit import Budget
from ffprof.records.estimate import Advice, Growth, PeakRow
from ffprof.records.frontier import Capacity
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.step import StepDescription
from ffprof.workload.user_file import address

LIMIT_SECONDS = 600.0  # of one child


@dataclass(frozen=True, kw_only=True)
class EstimateRequest:
    """What is estimated: the words of the command line.

    ``single`` is the option that is about one workload, or empty; ``against`` is another one.
    ``deep``: the backbone must have a depth that can grow. ``model`` stands in place of workloads.
    """

    preset: str | None
    workloads: str | None
    workload_files: tuple[Path, ...]
    gpu_mem: str | None
    card: str | None
    changes: dict[str, Any]
    allocator: str | None
    workspaces: bool
    single: str = ""
    against: str | None = None
    deep: bool = False
    card_files: tuple[Path, ...] = ()
    display: bool = False
    model: ModelRequest | None = None


@dataclass(frozen=True, kw_only=True)
class EstimateSession:
    """Everything that a question needs, and the server that children are forked from.

    ``other`` is the workload that the only chosen one is compared with, if that was asked.
    ``named``: the user said which workloads.
    """

    recipe: Recipe
    chosen: Selection
    budget: Budget
    target: Target
    torch: str
    server: BaseContext
    other: Description | None
    named: bool = True

    def peaks(self, progress: Progress, snapshot_to: Path | None = None) -> list[PeakRow]:
        """The rows of all workloads, with the reason where there are no figures.

        Raises:
            StoreError: the snapshot cannot be written.
        """
        workloads = self.chosen.workloads
        rows: list[PeakRow] = []
        path = None if snapshot_to is None else snapshot_to.resolve()

        def answered(number: int, ending: Ending) -> None:
            rows.append(self._row(workloads[number], self.recipe, ending))
            if number + 1 < len(workloads):
                progress.starts(workloads[number + 1].id, number + 1, len(workloads))

        progress.starts(workloads[0].id, 0, len(workloads))
        pieces = [(address(one), self.recipe) for one in workloads]
        try:
            run_series(
                self.server, estimate_child, pieces, LIMIT_SECONDS, answered, (self.target, path)
            )
        finally:
            progress.done()
        return rows

    def largest(self, question: Question, progress: Progress) -> list[Capacity]:
        """The largest size of every workload."""
        made = []
        for one in self._fed("--largest", question, progress):
            arguments = (address(one), self.recipe, self.target, question)
            found = run_child(self.server, border_child, arguments, LIMIT_SECONDS).answer(Border)
            if isinstance(found, Border):
                made.append(proposed(one, question, found))
            else:
                made.append(not_found(one, question, found.message))
        return made

    def advice(self, progress: Progress) -> list[Advice]:
        """What can be changed about each step of the user's own, so that it takes less.

        Raises:
            UsageError: a workload is not of that kind.
            NothingMeasuredError: a step cannot be estimated as it is.
        """
        made: list[Advice] = []
        steps = self.of_own_steps().chosen.workloads
        try:
            for number, one in enumerate(steps):
                progress.starts(one.id, number, len(steps))
                arguments = (address(one), self.recipe, self.target)
                ending = run_child(self.server, advise_child, arguments, LIMIT_SECONDS)
                found = ending.answer(Advice)
                if not isinstance(found, Advice):
                    raise NothingMeasuredError(f"{one.id}: {found.message}", "")
                made.append(found)
        finally:
            progress.done()
        return made

    def of_own_steps(self) -> EstimateSession:
        """The same of the user's own steps alone, unless the user named others.

        Raises:
            UsageError: there are none, or others were named.
        """
        workloads = self.chosen.workloads
        steps = tuple(one for one in workloads if isinstance(one, StepDescription))
        if not steps or (self.named and len(steps) < len(workloads)):
            fed = next(one for one in workloads if not isinstance(one, StepDescription))
            raise UsageError(
                f"--advise is about steps of your own, and {fed.id} is fed by ffprof",
                "give a step with --workload-file; variants of ffprof's are workloads themselves",
            )
        return replace(self, chosen=replace(self.chosen, workloads=steps))

    def growth(self, sweep: Sweep, progress: Progress) -> list[Growth]:
        """How every workload grows."""
        made = []
        for one in self._fed("--sweep", sweep.axis, progress):
            pairs = [swept(sweep.axis, value, one, self.recipe) for value in sweep.values]
            rows: list[PeakRow] = []

            def answered(
                number: int,
                ending: Ending,
                pairs: list[Sized] = pairs,
                rows: list[PeakRow] = rows,
            ) -> None:
                rows.append(self._row(*pairs[number], ending))

            pieces = [(address(each), recipe) for each, recipe in pairs]
            run_series(self.server, estimate_child, pieces, LIMIT_SECONDS, answered, (self.target,))
            made.append(growth_of(one, sweep.axis, sweep.values, rows))
        return made

    def _row(self, one: Description, recipe: Recipe, ending: Ending) -> PeakRow:
        unwritten = ending.answer(StoreError)
        if isinstance(unwritten, StoreError):
            raise unwritten
        found = ending.answer(Estimated)
        if isinstance(found, Estimated):
            return found.row
        return bare_row(one, recipe, self.target, found.outcome, found.message)

    def _fed(self, option: str, axis: str, progress: Progress) -> Iterator[Description]:
        """All workloads, each shown while it is at work.

        Raises:
            UsageError: one of them cannot be given such sizes.
        """
        workloads = self.chosen.workloads
        for one in workloads:
            check_size(option, axis, one, self.recipe)
        try:
            for number, one in enumerate(workloads):
                progress.starts(one.id, number, len(workloads))
                yield one
        finally:
            progress.done()


def growth_of(
    one: Identified, axis: Axis, values: tuple[int, ...], rows: Sequence[PeakRow]
) -> Growth:
    """How a workload grows over its rows, one a value."""
    memory = [row.memory for row in rows]
    return Growth(
        workload=one.id,
        axis=axis,
        values=values,
        rows=tuple(rows),
        allocated_exponent=exponent(
            values, [m.allocated_peak_bytes if m else None for m in memory]
        ),
        reserved_exponent=exponent(values, [m.reserved_peak_bytes if m else None for m in memory]),
        activations_exponent=exponent(values, [row.activation_peak_bytes for row in rows]),
    )


@contextmanager
def estimate_session(request: EstimateRequest) -> Iterator[EstimateSession]:
    """Look everything up, and start the server that children are forked from.

    Raises:
        FfprofError: something that was requested cannot be meant.
    """
    sources = read_sources(request.workload_files)
    words = request.workloads
    asked_model = request.model
    named = () if sources or asked_model else choose_workloads("core" if words is None else words)
    other = None if request.against is None else _other(request.against)
    if named:
        _check_single(request, named, other)
    asked = choose_budget(request.gpu_mem, request.card, request.card_files)
    budget = with_display(asked.budget) if request.display else asked.budget
    check_room(budget, asked.card)
    changes = whole_batches(request.changes, named if other is None else (*named, other))
    changes = asked_model.changes(changes) if asked_model else changes
    recipe = change_recipe(choose_preset(request.preset, "cuda").recipe, changes)
    if request.allocator is not None:
        settings = allocator_settings(request.allocator)
        flags = recipe.flags.model_copy(update={"allocator_conf": settings})
        recipe = recipe.model_copy(update={"flags": flags})
    recipe = resolve_threads(recipe)
    check_threads(recipe)
    check_recipe(recipe, named)
    if request.deep:
        flat_shape(recipe.backbone)
    with open_session(recipe, dry_run=True) as session:
        chosen = Selection(workloads=named, files=())
        if sources:
            chosen = choose_with_files(words, sources, session.server, LIMIT_SECONDS)
            check_recipe(recipe, chosen.workloads)
            _check_single(request, chosen.workloads, other)
        if asked_model:
            row, recipe = asked_model.described(session.server, recipe, request.changes)
            chosen = Selection(workloads=(row,), files=())
        found = session.found
        target = target_for(budget, asked.card, cuda_of(found), session.machine())
        yield EstimateSession(
            recipe=recipe,
            chosen=chosen,
            budget=budget,
            target=replace(target, workspaces=request.workspaces),
            torch=found.versions.get("torch build", "?"),
            server=session.server,
            other=other,
            named=words is not None,
        )


def _other(words: str) -> Description:
    found = choose_workloads(words)
    if len(found) != 1:
        raise UsageError(f"--against {words} is not one workload", "name one from ffprof workloads")
    return found[0]


def _check_single(
    request: EstimateRequest, workloads: tuple[Description, ...], other: Description | None
) -> None:
    if request.single and len(workloads) != 1:
        raise UsageError(
            f"{request.single} is about one workload, not {len(workloads)}",
            "name it with --workloads ID",
        )
    if other is not None and other.id == workloads[0].id:
        raise UsageError(f"--against {other.id} is the workload itself", "name another one")
