"""Which changes are tried on a step, what each of them gives, and which come first.

Every change that the step allows is traced by itself. Where the step does not fit and no single
change makes it fit, the best of each family are added up, the one that saves most first, until it
does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad
from torch.optim import Optimizer

from ffprof.errors import FfprofError, one_line
from ffprof.estimator.advice.accumulation import accumulated
from ffprof.estimator.advice.change import Change, Extra
from ffprof.estimator.advice.checkpoints import Blocks, blocks_of, checkpointed
from ffprof.estimator.advice.forward import autocast, saved_on_host
from ffprof.estimator.advice.modules import activations, channels_last
from ffprof.estimator.advice.optimizers import Loop, changes_of
from ffprof.estimator.advice.scene import Build, Scene, Step, staged
from ffprof.estimator.estimate import Estimate
from ffprof.estimator.fit import Fit
from ffprof.estimator.roofline import FITTED, step_time
from ffprof.hardware.profile import Card
from ffprof.records.estimate import Effect
from ffprof.records.recipe import Precision

PARTS = (2, 4, 8)
_OF_PARTS = ("data", "forward", "backward", "recompute")  # phases that run for each part of a batch
_LITTLE = 0.003  # of what is reserved
_ADDED = 4  # changes that are added up at most
# What the user's code, or PyTorch on fake tensors, raises where a change is not possible.
_FAILURES = (
    FfprofError, RuntimeError, AssertionError, AttributeError, TypeError, ValueError, LookupError,
    ArithmeticError, ImportError, OSError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Question:
    """The step, and what it is asked for.

    ``estimate`` traces a build, with cuDNN's workspaces counted. ``smaller`` gives the build of a
    part of the batch: None if the batch cannot be changed, or not divided so. ``batch`` is the
    whole one.
    """

    build: Build
    estimate: Callable[[Build], Estimate]
    budget_bytes: int
    card: Card | None
    precision: Precision = "fp32"
    tf32: bool = False
    batch: int | None = None
    smaller: Callable[[int], Build | None] = lambda parts: None


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a change, or several, make of the step; ``seconds`` are a roofline's, None without card.

    ``failed`` is why it could not be tried; figures are those of the step as it is then.
    """

    changes: tuple[Change, ...]
    allocated_bytes: int = 0
    reserved_bytes: int = 0
    cold_reserved_bytes: int = 0
    fit: Fit | None = None
    seconds: float | None = None
    failed: str = ""

    @property
    def fits(self) -> bool:
        """For certain."""
        return self.fit is not None and self.fit.answer == "fits"

    @property
    def effect(self) -> Effect:
        """The strongest of its changes'."""
        order: tuple[Effect, ...] = ("same", "rounding", "method")
        return max((one.effect for one in self.changes), key=order.index, default="same")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The step as it is, every change by itself, and those that were added up."""

    base: Tried
    singles: tuple[Tried, ...]
    together: tuple[Tried, ...] = ()


@dataclass
class _Survey:
    """What a step allows, found out while it is traced as it is."""

    blocks: Blocks = field(default_factory=Blocks)
    models: int = 0
    normalises: bool = False
    changes: dict[str, Change] = field(default_factory=dict)
    loop: Loop = field(default_factory=Loop)


def advise(question: Question) -> Found:
    """Try every change on the step.

    Raises:
        FfprofError: the step itself cannot be traced.
    """
    with _surveyed(question.build) as (build, survey):
        base_estimate = question.estimate(build)
        changes = list(_possible(question, survey, base_estimate))
    base = _figures(question, (), base_estimate, Extra())
    singles = [_try(question, (change,)) for change in changes]
    # It costs no trace: the same requests under another setting.
    singles += _expandable(question, base_estimate)
    found = Found(base=base, singles=tuple(singles))
    return found if _helped(found) else replace(found, together=tuple(_together(question, found)))


def _helped(found: Found) -> bool:
    return any(
        one.fits and one.effect != "method" and all(change.sure for change in one.changes)
        for one in (found.base, *found.singles)
    )


def _together(question: Question, found: Found) -> Iterator[Tried]:
    """The best of every family, the one that saves most first, one more each time."""
    best: dict[str, Tried] = {}
    for one in found.singles:
        saves = found.base.reserved_bytes - one.reserved_bytes
        (change,) = one.changes
        if (
            one.failed
            or one.effect == "method"
            or change.allocator
            or saves <= 0
            or not change.sure
        ):
            continue
        other = best.get(change.family)
        if other is None or one.reserved_bytes < other.reserved_bytes:
            best[change.family] = one
    if {"accumulation", "update"} <= set(best):  # an update in backward has no accumulation
        del best["update"]
    chosen: tuple[Change, ...] = ()
    least = min((one.reserved_bytes for one in best.values()), default=0)
    for one in sorted(best.values(), key=lambda one: one.reserved_bytes)[:_ADDED]:
        chosen = (*chosen, *one.changes)
        if len(chosen) < 2:
            continue
        tried = _try(question, chosen)
        if tried.failed or tried.reserved_bytes >= least:  # the last does not go with the others
            chosen = chosen[:-1]
            continue
        least = tried.reserved_bytes
        yield tried
        if tried.fits:
            return


def _possible(question: Question, survey: _Survey, found: Estimate) -> Iterator[Change]:
    halves = any(o.element_bytes == 2 and o.flops and o.phase == "forward" for o in found.operators)
    if not halves:
        card = question.card
        old = card is not None and card.bf16_tensor_flops is None
        yield autocast("fp16" if old else "bf16")
    yield from checkpointed(survey.blocks)
    yield from survey.changes.values()
    if question.batch is not None:
        for parts in PARTS:
            if question.batch % parts == 0 and question.smaller(parts) is not None:
                at_once = question.batch // parts
                yield accumulated(parts, at_once, normalises=survey.normalises)
    state = found.breakdown.by_category.get("optimizer state", 0)
    if state < _LITTLE * found.reserved_peak_bytes:  # of adapters, say: nothing can be saved of it
        survey.loop.little = True
    yield from changes_of(survey.loop)
    yield saved_on_host()


@contextmanager
def _surveyed(build: Build) -> Iterator[tuple[Build, _Survey]]:
    survey = _Survey()
    loop = survey.loop

    def meet(model: nn.Module) -> None:
        survey.models += 1
        called = "model" if survey.models == 1 else f"model_{survey.models}"
        survey.blocks += blocks_of(model, called)
        survey.normalises |= any(isinstance(one, _BatchNorm) for one in model.modules())
        for change in (*activations(model), *channels_last(model)):
            survey.changes.setdefault(change.id, change)

    def prepare(scene: Scene, step: Step) -> Step:
        scene.models.append(meet)
        loop.made.extend(scene.made)
        began = 0

        def passes() -> None:
            nonlocal began
            began += 1

        def stepped() -> object:
            nonlocal began
            began = 0
            result = step()
            # A gradient that is asked for by itself may be set by hand, which no hook sees.
            loop.backwards = 0 if scene.grads else began
            return result

        scene.backward.append(passes)
        return stepped

    clear, clear_module = Optimizer.zero_grad, nn.Module.zero_grad
    clip = clip_grad._clip_grads_with_norm_

    def zero_grad(self: Optimizer, set_to_none: bool = True) -> None:
        loop.clears |= not set_to_none
        clear(self, set_to_none)

    def zero_grad_of(self: nn.Module, set_to_none: bool = True) -> None:
        loop.clears |= not set_to_none
        clear_module(self, set_to_none)

    def clips(*args: Any, **kwargs: Any) -> Any:
        loop.clips = True
        return clip(*args, **kwargs)

    with (
        staged(build, prepare) as watched,
        mock.patch.object(Optimizer, "zero_grad", zero_grad),
        mock.patch.object(nn.Module, "zero_grad", zero_grad_of),
        mock.patch.object(clip_grad, "_clip_grads_with_norm_", clips),
    ):
        yield watched, survey
    loop.made.clear()


def _try(question: Question, changes: tuple[Change, ...]) -> Tried:
    parts = max(change.parts for change in changes)
    extra = Extra()
    # What repeats the step goes around what is done to each of its forwards.
    ordered = sorted(changes, key=lambda change: change.parts)
    try:
        build = question.build if parts == 1 else question.smaller(parts)
        assert build is not None
        with ExitStack() as stack:
            for change in ordered:
                build = stack.enter_context(change.applied(build, extra))
            found = question.estimate(_counting(build, extra))
        return _figures(question, changes, found, extra)
    except _FAILURES as error:
        problem = error.problem if isinstance(error, FfprofError) else str(error)
        return Tried(changes=changes, failed=one_line(problem)[:200] or type(error).__name__)


def _counting(build: Build, extra: Extra) -> Build:
    """``build``, whose step counts from zero every time."""

    def counted(device: Any) -> Step:
        step = build(device)

        def stepped() -> object:
            extra.link_bytes = 0
            return step()

        return stepped if callable(step) else step

    return counted


def _figures(question: Question, changes: Sequence[Change], found: Estimate, extra: Extra) -> Tried:
    return Tried(
        changes=tuple(changes),
        allocated_bytes=found.allocated_peak_bytes,
        reserved_bytes=found.reserved_peak_bytes,
        cold_reserved_bytes=found.cold_reserved_peak_bytes,
        fit=found.fit(question.budget_bytes),
        seconds=_seconds(question, changes, found, extra),
    )


def _seconds(
    question: Question, changes: Sequence[Change], found: Estimate, extra: Extra
) -> float | None:
    card = question.card
    if card is None:
        return None
    precision: Any = next((c.precision for c in changes if c.precision), question.precision)
    timed = step_time(
        found.operators,
        card,
        precision=precision,
        tf32=question.tf32,
        channels_last=any(change.channels_last for change in changes),
    )
    of_parts = sum(timed.share_by_phase.get(phase, 0.0) for phase in _OF_PARTS)
    seconds = timed.seconds * (1 + of_parts * (extra.part_times - 1))
    moved = extra.link_bytes * extra.part_times
    return seconds + moved / (card.pcie_bytes_per_second * FITTED.link)


def _expandable(question: Question, found: Estimate) -> list[Tried]:
    if found.config.expandable_segments:
        return []
    other = found.under(replace(found.config, expandable_segments=True))
    change = Change(
        id="expandable-segments",
        title="expandable_segments",
        family="allocator",
        effect="same",
        code="PYTORCH_ALLOC_CONF=expandable_segments:True python ...  # not on Windows\n",
        applied=lambda build, extra: nullcontext(build),
        allocator="expandable_segments:True",
    )
    return [_figures(question, (change,), other, Extra())]
