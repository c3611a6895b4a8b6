"""The record of an audit: the one file that it writes and everything else reads.

Units are in the names: integers in ``_bytes``, floats in ``_seconds``. What could not be read is
null, with the reason in the same object's ``unread`` map, never 0. The JSON Schema of this module
is exported to docs/record.schema.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from ffprof.records.base import (
    MOST_TRIALS,
    Bytes,
    Count,
    Digest,
    Label,
    Listed,
    Name,
    Named,
    Notes,
    Part,
    Size,
    Text,
    check_trials,
)
from ffprof.records.recipe import Metric, Recipe
from ffprof.records.trial import (
    Conditions,
    Debit,
    Device,
    Energy,
    Evidence,
    GpuConditions,
    Loss,
    Memory,
    Outcome,
    Throughput,
    Trial,
    check_timed,
)

Finding = Literal[
    "lower",
    "higher",
    "same",
    "faster",
    "not slower",
    "slower",
    "inconclusive",
    "does not repeat",
    "fits",
    "does not fit",
    "ratio only",
    "not comparable",
]


class SecondOpinion(Part):
    """What other statistics say of the same rounds; no verdict rests on it.

    ``bootstrap`` is the 95 % percentile interval of the ratio over resampled rounds, ``sign_flip``
    the probability that noise without a difference gives as large a mean, over all sign flips.
    """

    bootstrap: tuple[float, float]
    sign_flip: Annotated[float, Field(ge=0, le=1)]


class Verdict(Part):
    """One claim, judged on the trials of this record.

    ``interval`` holds for all claims and looks together in 99 of 100 audits (docs/verdicts.md);
    ``rounds`` is how many it was taken over.
    """

    claim: Name
    challenger: Name
    baseline: Annotated[str, Field(max_length=300)]
    metric: Metric
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    rounds: Annotated[int, Field(ge=1)] | None = None
    second_opinion: SecondOpinion | None = None
    finding: Finding
    supported: bool | None
    sentence: Text


__all__ = [
    "SCHEMA_VERSION",
    "Budget",
    "Conditions",
    "Debit",
    "Device",
    "Energy",
    "Evidence",
    "Fact",
    "Finding",
    "GpuConditions",
    "GradientProof",
    "LedgerRow",
    "Loss",
    "Machine",
    "Memory",
    "Outcome",
    "Plan",
    "Record",
    "SecondOpinion",
    "Throughput",
    "Trial",
    "Uncapped",
    "Verdict",
    "WorkloadFile",
    "is_unmatched",
]

SCHEMA_VERSION = 1  # of Record; a change that older readers cannot read raises it
MOST_FACTS = 1_000_000  # of all rows, where each had what any has


class Budget(Part):
    """The bytes that a process may take; all null on a CPU.

    ``total_bytes`` is what CUDA offers on the card, ``display_bytes`` what a desktop takes of it,
    ``debit_bytes`` the most that any trial's context and libraries were counted with, and
    ``limit_bytes`` what is left. ``target_debit_bytes`` is what they are estimated to take on the
    card itself, where that is emulated. ``whole_gpu``: the GPU is a card of this size, so that
    nothing is limited. ``spills`` says why the driver uses host memory instead of failing, or is
    empty.
    """

    requested: Label = ""
    card: Label | None = None
    total_bytes: Bytes | None = None
    display_bytes: Bytes = 0
    debit_bytes: Bytes | None = None
    target_debit_bytes: Bytes | None = None
    limit_bytes: Bytes | None = None
    whole_gpu: bool = False
    spills: Text = ""
    sources: Listed[Text] = ()


def is_limited(budget: Budget, evidence: Evidence) -> bool:
    """Whether a larger GPU stands for the card of the budget, and is limited to it.

    What is measured is not, nor a null device of the card itself, which is emulated as well.
    """
    return evidence == "emulated" and not budget.whole_gpu


class Machine(Part):
    """What the audit ran on; with ``null_device`` its GPU is not there."""

    platform: Text
    cpu: Text
    cpu_count: Size
    ram_bytes: Bytes
    gpu: Text | None = None
    gpu_uuid: Text | None = None
    gpu_total_bytes: Bytes | None = None
    null_device: bool = False
    driver: Text | None = None
    versions: Named[Text]
    environment: Named[Text] = Field(default_factory=dict)
    commit: Text | None = None


Whole = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Fact = Text | Whole | float | bool | None


def is_unmatched(facts: Mapping[str, Fact]) -> bool:
    """Whether nothing of a row is matched: it was a step of the user's own, said by ``matched``."""
    return "matched" in facts


class GradientProof(Part):
    """How far a workload's gradients are from its method's full-batch ones.

    ``relative_difference`` is ||g - g_ref|| / ||g_ref|| over all parameters together,
    ``max_relative_difference`` the largest over single parameters, computed in float64 on the
    host at the batch and image size given here.
    """

    reference: Name
    relative_difference: float | None
    max_relative_difference: float | None
    parameter: Text = ""
    batch: Size
    micro_batch: Size
    image_size: Size
    tolerance: float
    equal: bool | None
    message: Text = ""


class Uncapped(Part):
    """What a workload takes of a GPU that is larger than the card: a short trial without a limit.

    ``message`` says why there are no figures.
    """

    memory: Memory | None = None
    debit: Debit | None = None
    message: Text = ""


class LedgerRow(Part):
    """What the harness found one workload to be.

    ``operators`` counts the operators of one optimizer step by name, as PyTorch's dispatcher sees
    them; empty where they were not counted.
    """

    facts: Named[Fact] = Field(default_factory=dict)
    operators: Named[Count] = Field(default_factory=dict)
    gradient: GradientProof | None = None
    uncapped: Uncapped | None = None


class WorkloadFile(Part):
    """A file of the user's own: its path as it was given, and the digest of what it held.

    The digest covers this file alone, not what it imports. ``steps`` are those of its workloads
    that bring everything themselves, so that nothing of the recipe is theirs; empty in older files.
    """

    path: Text
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    workloads: Listed[Name]
    steps: Listed[Name] = ()


def own_files(workloads: Iterable[str], files: Sequence[WorkloadFile]) -> tuple[str, ...]:
    """Names of the files that all of ``workloads`` are from; empty if one is registered."""
    inside = {name: file for file in files for name in file.workloads}
    found = [inside.get(name) for name in workloads]
    if not found or None in found:
        return ()
    return tuple(dict.fromkeys(PurePath(file.path).name for file in found if file))


def are_own_steps(workloads: Iterable[str], files: Sequence[WorkloadFile]) -> bool:
    """Whether all of ``workloads`` are steps of the user's own, which the recipe does not bind."""
    return set(workloads) <= {name for file in files for name in file.steps}


def subject_of(preset: str, workloads: Iterable[str], files: Sequence[WorkloadFile]) -> str:
    """What a report is headed by: the preset, or the user's own files if all rows are theirs."""
    return ", ".join(own_files(workloads, files)) or f"preset {preset}"


class Plan(Part):
    """Which trials make the audit complete."""

    workloads: Annotated[tuple[Name, ...], Field(min_length=1, max_length=10_000)]
    families: Named[Name] = Field(default_factory=dict)
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    trial_limit_seconds: float
    run_limit_seconds: float | None = None
    files: Annotated[tuple[WorkloadFile, ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_trials(len(self.workloads), self.rounds)
        if len(set(self.workloads)) != len(self.workloads):
            raise ValueError("a workload is planned twice")
        return self


class Record(Part):
    """All trials of one recipe, one budget and one kind of evidence.

    ``noise`` is what ``ffprof calibrate`` found on this machine: by workload, the standard
    deviation of the logarithm of images per second between processes.
    """

    schema_version: Literal[1] = 1
    created: datetime
    ffprof: Label
    command: Text
    recipe: Recipe
    recipe_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    plan: Plan
    budget: Budget = Budget()
    machine: Machine
    evidence: Evidence
    ledger: Named[LedgerRow] = Field(default_factory=dict)
    trials: Annotated[tuple[Trial, ...], FailFast()] = Field(default=(), max_length=MOST_TRIALS)
    # Taken again.
    discarded: Annotated[tuple[Trial, ...], FailFast()] = Field(default=(), max_length=MOST_TRIALS)
    verdicts: Annotated[tuple[Verdict, ...], FailFast()] = Field(default=(), max_length=10_000)
    noise: Named[Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=dict)
    notes: Notes = ()
    digest: Digest = ""

    @model_validator(mode="after")
    def _is_one_audit(self) -> Self:
        if self.recipe.digest() != self.recipe_hash:
            raise ValueError("recipe_hash does not belong to the recipe: the file was edited")
        ids = [trial.id for trial in self.trials]
        if len(set(ids)) != len(ids):
            raise ValueError("two trials have the same id")
        strangers = {t.workload for t in self.trials} - set(self.plan.workloads)
        if strangers:
            raise ValueError(f"trials of workloads that were not planned: {sorted(strangers)}")
        if self.machine.null_device and self.evidence != "emulated":
            raise ValueError(f"evidence {self.evidence!r} of a null device")
        if self.timed:
            check_timed(self.trials)
        mixed = {t.evidence for t in self.trials} - {self.evidence}
        if mixed:
            raise ValueError(f"evidence {sorted(mixed)} in a record of {self.evidence!r}")
        facts = {name for row in self.ledger.values() for name in row.facts}
        if len(facts) * len(self.ledger) > MOST_FACTS:
            raise ValueError(f"ledger: {len(facts):,} facts of {len(self.ledger):,} workloads")
        return self

    @property
    def timed(self) -> bool:
        """Whether kernels ran, so that there are speeds, losses and energy.

        Not in an estimate, nor on a null device.
        """
        return self.evidence != "estimated" and not self.machine.null_device

    @property
    def subject(self) -> str:
        """What was measured, as a heading."""
        return subject_of(self.recipe.preset, self.plan.workloads, self.plan.files)

    def missing(self) -> list[tuple[int, str]]:
        """Planned (round, workload) pairs that have no trial, in order."""
        done = {(trial.round, trial.workload) for trial in self.trials}
        return [
            (number, workload)
            for number in range(self.plan.rounds)
            for workload in self.plan.workloads
            if (number, workload) not in done
        ]


SHARED = "shared"  # the fact `backbone` of a row that starts from the whole shared state
