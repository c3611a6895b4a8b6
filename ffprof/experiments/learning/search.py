"""Tuning: every workload has the same number of trials, scored on the validation images alone.

Rounds of one trial a workload, in shuffled order, so that all have had as many at any time. The
first trial has the default settings. What is proposed next follows from the trials in the record
and the seed: a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

from ffprof.errors import UsageError, one_line
from ffprof.experiments.campaign import Campaign
from ffprof.experiments.learning.children import Children
from ffprof.experiments.learning.recorder import LearningRecorder, all_settings, failure
from ffprof.experiments.learning.request import own_settings, recipe_for
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Assignment, EpochDone, Failed, Validated
from ffprof.records.learning import RunSlot
from ffprof.records.recipe import Optimizer
from ffprof.records.redaction import recorded
from ffprof.records.search import Search, SearchTrial, SettingRange
from ffprof.units import format_seconds
from ffprof.workload import Description
from ffprof.workload.settings import SHARED_SETTINGS

# By optimizer: AdamW's steps are of about the learning rate, SGD's of that times the gradient.
LEARNING_RATES = {"adamw": (1e-4, 2e-2), "sgd": (1e-3, 1.0)}
WEIGHT_DECAYS = (1e-6, 1e-1)


def check_optuna() -> None:
    """Fail early if there is nothing to search with.

    Raises:
        UsageError: optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise UsageError("--tune needs optuna", "pip install 'ffprof[tune]'")


def sampler_name() -> str:
    """What proposes settings, with its version."""
    return f"optuna {version('optuna')} TPESampler"


def ranges_for(description: Description, optimizer: Optimizer) -> tuple[SettingRange, ...]:
    """What is searched for a workload, and in which ranges."""
    rate, decay = SHARED_SETTINGS
    low, high = LEARNING_RATES[optimizer.name]
    return (
        SettingRange(name=rate, low=low, high=high),
        SettingRange(name=decay, low=WEIGHT_DECAYS[0], high=WEIGHT_DECAYS[1]),
        *(
            SettingRange(name=one.name, low=one.low, high=one.high, log=one.log)
            for one in description.settings
        ),
    )


def proposal(
    ranges: Sequence[SettingRange], trials: Sequence[SearchTrial], seed: int
) -> dict[str, float]:
    """What to try after these trials; it follows from nothing else.

    The first ten are random: the same learning rates and weight decays for all workloads. A trial
    without an accuracy counts as 0 % accurate here, so that the search stays away from there; a
    default outside of a range as the nearest value in it.
    """
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution

    known: dict[str, BaseDistribution] = {
        one.name: FloatDistribution(one.low, one.high, log=one.log) for one in ranges
    }
    number = random.Random(f"{seed}/{len(trials)}").getrandbits(32)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=number)
        )
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={r.name: min(r.high, max(r.low, t.settings[r.name])) for r in ranges},
                    distributions=known,
                    value=t.accuracy or 0.0,
                )
                for t in trials
            ]
        )
        return dict(study.ask(known).params)
    finally:
        optuna.logging.set_verbosity(before)


class Tuner:
    """The searches of one study."""

    def __init__(self, campaign: Campaign, recorder: LearningRecorder, children: Children) -> None:
        self._campaign, self._recorder, self._children = campaign, recorder, children

    def run(self) -> None:
        """Every trial that is missing."""
        record = self._recorder.record
        missing = record.missing_trials()
        for number in sorted({number for number, _ in missing}):
            names = [name for at, name in missing if at == number]
            random.Random(f"{record.recipe.seed}/{number}").shuffle(names)
            self._children.each(self._one, [(name, self._next(name)) for name in names])

    def _search(self, name: str) -> Search:
        """What is known of a workload's search, or an empty one."""
        record, description = self._recorder.record, self._recorder.descriptions[name]
        return record.search(name) or Search(
            workload=name,
            seed=record.plan.seeds[0],
            epochs=record.training.epochs,
            sampler=sampler_name(),
            ranges=ranges_for(description, record.recipe.optimizer),
        )

    def _next(self, name: str) -> dict[str, float]:
        search = self._search(name)
        if search.trials:
            return proposal(search.ranges, search.trials, self._recorder.record.recipe.seed)
        return all_settings(self._recorder.record.recipe, self._recorder.descriptions[name])

    def _one(self, piece: tuple[str, dict[str, float]]) -> None:
        name, settings = piece
        record, search = self._recorder.record, self._search(name)
        description = self._recorder.descriptions[name]
        slot = RunSlot(workload=name, task=0, seed=search.seed)
        recipe = recipe_for(record, slot, settings)
        number = len(search.trials)
        title = f"tuning {name} {number + 1}/{record.plan.tuning}"
        reason = description.objection(recipe)
        if reason:
            ending = Ending(kind="ended", messages=(Failed(outcome="refused", message=reason),))
        else:
            self._campaign.admit()
            self._show(title, 0)
            assignment = Assignment(
                recipe=recipe,
                training=record.training,
                task=record.plan.tasks[0],
                checkpoint=None,
                digest="",
                settings=own_settings(settings),
            )

            def tell(done: EpochDone) -> None:
                self._show(title, done.epochs[-1].number)

            ending, _ = self._children.train(description, assignment, tell)
        trial = trial_from(number, settings, ending)
        self._recorder.trial(search, trial)
        self._campaign.progress.ends(trial_line(title, trial), self._children.left())

    def _show(self, title: str, epoch: int) -> None:
        record = self._recorder.record
        total = record.plan.tuning * len(record.plan.workloads)
        self._children.show(title, epoch, total - len(record.missing_trials()), total)


def trial_from(number: int, settings: dict[str, float], ending: Ending) -> SearchTrial:
    """The trial that ended like this."""
    found = ending.answer(Validated)
    if isinstance(found, Validated):
        return SearchTrial(
            number=number,
            settings=settings,
            accuracy=next(iter(found.score.accuracy.values())),
            outcome="ok",
            seconds=ending.seconds,
        )
    outcome, message = failure(ending, found)
    return SearchTrial(
        number=number,
        settings=settings,
        outcome=outcome,
        message=recorded(one_line(message), 1000),
        seconds=ending.seconds,
    )


def trial_line(title: str, trial: SearchTrial) -> str:
    """A trial that is over, in a line."""
    if trial.accuracy is None:
        return f"{title:<28} {trial.outcome:<9}{trial.message}"
    told = f"{100 * trial.accuracy:.2f} % validated"
    return f"{title:<28} ok       {told} after {format_seconds(trial.seconds)}"
