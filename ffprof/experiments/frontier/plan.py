"""From the words of ``ffprof frontier`` to points, and to what a trial of them starts with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ffprof.errors import UsageError
from ffprof.experiments.audit.plan import request_for
from ffprof.experiments.frontier.request import FrontierRequest, default_sizes, make_points
from ffprof.experiments.options import Options
from ffprof.experiments.request import Request
from ffprof.experiments.selection import (
    absent_members,
    all_workloads,
    check_rounds,
    choose_preset,
)
from ffprof.experiments.session import Setup, guard_over, path_beside, record_beside, set_up
from ffprof.experiments.terms import target_here
from ffprof.records.files import prepare_folder, writing

_PRECISIONS = ("fp32", "bf16", "fp16")
_FORMATS = ("contiguous", "channels_last")
MOST_POINTS = 1000


@dataclass(frozen=True, kw_only=True)
class FrontierOptions:
    """What is to be varied, in the words of the command line; None is what was not given."""

    micro_batches: str | None
    precisions: str | None
    memory_formats: str | None
    every: bool = False
    rounds_given: bool = False


@contextmanager
def prepare_frontier(options: Options, asked: FrontierOptions) -> Iterator[FrontierRequest]:
    """The frontier that is ready to be found, as long as this context lasts.

    Raises:
        FfprofError: it is impossible; nothing is written then.
    """
    precisions = _some_of(asked.precisions, _PRECISIONS, "--precisions")
    formats = _some_of(asked.memory_formats, _FORMATS, "--memory-formats")
    sizes = _sizes(asked.micro_batches)
    _check_together(options, asked)
    changes = _first(options, sizes)
    changes |= {"precision": precisions[0]} if precisions else {}
    changes |= {"memory_format": formats[0]} if formats else {}
    with set_up(replace(options, **changes)) as setup:
        # Without a GPU the first is the estimate of what was requested, and only that is done.
        audit = request_for(setup.kinds[0], setup)
        request = _request(audit, setup, options, asked, sizes, precisions, formats)
        if len(setup.kinds) > 1:
            note = "nothing is measured without a GPU, unless --device cpu asks for this processor"
            request = _noted(request, note)
        prepare_folder(options.out)
        with writing(request.path):
            yield request


def _request(
    audit: Request,
    setup: Setup,
    options: Options,
    asked: FrontierOptions,
    sizes: tuple[int, ...],
    precisions: tuple[str, ...],
    formats: tuple[str, ...],
) -> FrontierRequest:
    recipe = audit.record.recipe
    points, recipes = make_points(
        recipe,
        audit.workloads,
        sizes or default_sizes(recipe),
        precisions or (recipe.precision,),
        formats or (recipe.memory_format,),
    )
    if len(points) > MOST_POINTS:
        raise UsageError(
            f"these are {len(points):,} points, more than {MOST_POINTS:,}", "vary fewer settings"
        )
    check_rounds(options.rounds, len(points), None if audit.target else recipe)
    target = audit.target
    if target is None and audit.device == "cuda":
        target = target_here(audit.record, setup)
    return FrontierRequest(
        audit=audit,
        record=record_beside(
            audit,
            "frontier",
            rounds=1 if audit.target else options.rounds,
            every_point=asked.every,
            trial_limit_seconds=options.time_limit,
            points=points,
            notes=_notes(audit),
        ),
        recipes=recipes,
        target=target,
        path=path_beside(audit, "frontier"),
        trial_limit_seconds=options.time_limit,
        run_limit_seconds=options.run_limit,
        guard=guard_over(audit, options.on_foreign),
    )


def _check_together(options: Options, asked: FrontierOptions) -> None:
    """Refuse options that mean nothing on the device that was requested."""
    if options.device == "cpu":
        for option, given in (
            ("--gpu-mem", options.gpu_mem),
            ("--card", options.card),
            ("--card-file", options.card_files),
            ("--display", options.display),
        ):
            if given:
                raise UsageError(
                    f"{option} is a budget of a GPU, and --device cpu has none",
                    "use --device estimate, or leave it out",
                )
    if options.device == "estimate":
        for option, is_given in (("--all-points", asked.every), ("--rounds", asked.rounds_given)):
            if is_given:
                raise UsageError(
                    f"{option} is about trials, and --device estimate runs none", "leave it out"
                )


def _notes(audit: Request) -> tuple[str, ...]:
    """Those of an audit, but that nothing is claimed of families, and methods are to be whole."""
    recipe, workloads = audit.record.recipe, audit.workloads
    claims = absent_members(recipe, workloads)
    chosen, methods = {one.id for one in workloads}, {one.method for one in workloads}
    absent = [
        one.id
        for one in all_workloads()[0]
        if one.method in methods and one.id not in chosen and one.objection(recipe) is None
    ]
    told = f"registered workloads of these methods that are not here: {', '.join(absent)}"
    notes = tuple(note for note in audit.record.notes if note != claims)
    return (*notes, f"{told} (--workloads all)") if absent else notes


def _noted(request: FrontierRequest, note: str) -> FrontierRequest:
    notes = (*request.record.notes, note)
    return replace(request, record=request.record.model_copy(update={"notes": notes}))


def _first(options: Options, sizes: tuple[int, ...]) -> dict[str, Any]:
    """A micro-batch for the recipe: one of those requested, or one that divides the batch."""
    preset = choose_preset(options.preset, "cpu" if options.device == "cpu" else "cuda").recipe
    asked = options.changes.get("batch")
    batch = preset.batch if asked is None else asked
    if batch < 1:
        return {}  # the recipe objects
    wrong = [size for size in sizes if batch % size]
    if wrong:
        raise UsageError(
            f"--micro-batches: {wrong[0]} does not divide the batch of {batch}",
            f"divisors are {_told_divisors(batch)}",
        )
    if sizes:
        return {"micro_batch": min(sizes, key=lambda n: abs(math.log(n / preset.micro_batch)))}
    return {"micro_batch": math.gcd(batch, preset.micro_batch)} if asked is not None else {}


def _told_divisors(batch: int) -> str:
    divisors = [str(n) for n in range(1, min(batch, 10_000) + 1) if batch % n == 0]
    return ", ".join(divisors[-12:])


def _sizes(words: str | None) -> tuple[int, ...]:
    if words is None:
        return ()
    fix = "write numbers such as 4,8,16"
    found = []
    for word in (part.strip() for part in words.split(",") if part.strip()):
        if not (word.isascii() and word.isdigit() and int(word[:9]) >= 1 and len(word) < 8):
            raise UsageError(f"--micro-batches: {word!r} is not a size", fix)
        found.append(int(word))
    if not found:
        raise UsageError("--micro-batches names no size", fix)
    return tuple(sorted(set(found)))


def _some_of(words: str | None, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    if words is None:
        return ()
    named = [word.strip() for word in words.split(",") if word.strip()]
    wrong = [word for word in named if word not in known]
    if wrong or not named:
        problem = f"{wrong[0]!r} is not known" if wrong else "nothing is named"
        raise UsageError(f"{option}: {problem}", f"known are: {', '.join(known)}")
    return tuple(dict.fromkeys(named))
