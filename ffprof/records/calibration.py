"""The record of a calibration: how noisy a machine is, by workload, and what can be seen on it.

A file of its own in addition to those of audits, with the same rules about units and nulls. Shares
and standard deviations are of speed: 0.02 is 2 %.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ffprof.records.audit import Machine, WorkloadFile, subject_of
from ffprof.records.base import Digest, Label, Name, Notes, Part, Text
from ffprof.records.recipe import Recipe
from ffprof.records.trial import Evidence

CALIBRATION_VERSION = 1

Deviation = Annotated[float, Field(ge=0, le=100)]
Ratio = Annotated[float, Field(gt=0, le=1e305)]
Count = Annotated[int, Field(ge=1, le=10_000)]
ArmFinding = Literal[
    "faster", "same", "not slower", "slower", "not faster", "inconclusive", "ratio only"
]


class Visible(Part):
    """The smallest loss of speed, 0 to 1, that a comparison finds after ``rounds`` rounds."""

    rounds: Count
    share: Annotated[float, Field(ge=0, le=1)]


class WorkloadNoise(Part):
    """The noise of one workload between processes.

    ``sd`` is the standard deviation of log(images per second), net of what all workloads of a
    round share, known with ``freedom`` degrees of freedom. ``speeds`` says in words that there
    are two speeds, or is empty.
    """

    workload: Name
    images_per_second: Ratio  # median
    sd: Deviation
    freedom: Count
    speeds: Text = ""
    visible: Annotated[tuple[Visible, ...], Field(max_length=100)] = ()


class MachineDrift(Part):
    """How far rounds as a whole are apart, and what independent noise alone would give.

    ``chance`` is the probability that noise alone gives as much.
    """

    sd: Deviation
    expected: Deviation
    chance: Annotated[float, Field(ge=0, le=1)]


class ArmChange(Part):
    """Every other round against those between, judged as two runs would be.

    Both halves are of the same code, so a change that is found is a false alarm. ``because`` says
    why there is no verdict.
    """

    workload: Name
    ratio: Ratio
    low: Ratio | None = None
    high: Ratio | None = None
    finding: ArmFinding
    because: Text = ""


class CalibrationRecord(Part):
    """The noise of one machine under one recipe.

    ``claims`` is how many a comparison of two runs of these workloads judges at once, which the
    smallest changes are of. ``audit`` is the name of the result file with the trials, and
    ``audit_sha256`` the digest of what it held.
    """

    schema_version: Literal[1] = 1
    kind: Literal["calibration"] = "calibration"
    created: datetime
    ffprof: Label
    command: Text
    recipe: Recipe
    machine: Machine
    evidence: Evidence
    audit: Text
    audit_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    rounds: Count
    claims: Count
    noise: Annotated[tuple[WorkloadNoise, ...], Field(min_length=1, max_length=10_000)]
    drift: MachineDrift | None = None
    arms: Annotated[tuple[ArmChange, ...], Field(max_length=10_000)] = ()
    files: Annotated[tuple[WorkloadFile, ...], Field(max_length=1000)] = ()
    notes: Notes = ()
    digest: Digest = ""

    @model_validator(mode="after")
    def _is_one_calibration(self) -> Self:
        names = [row.workload for row in self.noise]
        if len(set(names)) != len(names):
            raise ValueError("two rows are of the same workload")
        if self.evidence == "estimated":
            raise ValueError("an estimate has no noise")
        if strangers := {arm.workload for arm in self.arms} - set(names):
            raise ValueError(f"arms of workloads without noise: {sorted(strangers)}")
        return self

    @property
    def subject(self) -> str:
        """What was measured, as a heading."""
        return subject_of(self.recipe.preset, [row.workload for row in self.noise], self.files)

    @property
    def false_alarms(self) -> tuple[ArmChange, ...]:
        """Changes that were found where there are none."""
        return tuple(arm for arm in self.arms if arm.finding in ("faster", "slower"))
