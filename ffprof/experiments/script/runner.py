"""Runs a script once or, if the answer is close, twice, each time in processes of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ffprof.errors import StoreError
from ffprof.experiments.script.outcome import Run, answer, estimate_of, may_fit, sure_to_fit
from ffprof.experiments.script.request import ScriptRequest, ScriptTarget, target_of
from ffprof.harness.process.command import run_command
from ffprof.harness.process.folder import temporary_folder
from ffprof.nulldevice import environment, read_report
from ffprof.nulldevice.description import inherited
from ffprof.nulldevice.script.report import (
    FOLDER,
    HOOK_FOLDER,
    SNAPSHOT,
    STEPS,
    read_reports,
)
from ffprof.records.files import replacement
from ffprof.records.script import ScriptEstimate
from ffprof.units import format_bytes


def estimate_script(
    request: ScriptRequest, say: Callable[[str], None] = lambda text: None
) -> ScriptEstimate:
    """Run the command and tell what it takes of the card.

    Args:
        request: what is asked.
        say: told in one line what takes time.

    Raises:
        UsageError: the command cannot be started, or the request cannot be meant.
        NullDeviceError: the device cannot be built.
        StoreError: the snapshot cannot be written.
    """
    return run_on(request, target_of(request), say)


def run_on(
    request: ScriptRequest, target: ScriptTarget, say: Callable[[str], None] = lambda text: None
) -> ScriptEstimate:
    """``estimate_script`` on a device that was looked up."""
    return _Runs(request=request, target=target, say=say).estimate()


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """All runs of one request."""

    request: ScriptRequest
    target: ScriptTarget
    say: Callable[[str], None]

    def estimate(self) -> ScriptEstimate:
        """Run with what is likely left, and again where the answer depends on it."""
        room = self.target.room
        given = self.request.capacity  # then there is nothing to allow for
        first = self._run(room.likely if given is None else given, self.request.snapshot)
        second = None
        if given is not None:
            pass
        elif first.completed and room.least and not sure_to_fit(first, room):
            self.say(f"it is close: run again with {format_bytes(room.least)} for tensors")
            second = self._run(room.least)
        elif first.out_of_memory and may_fit(first, room):
            self.say(f"it is close: run again with {format_bytes(room.most)} for tensors")
            second = self._run(room.most)
        status = answer(first, second, room)
        if given is not None and first.completed:
            status = "fits"
        return estimate_of(self.request, self.target, first, status, second)

    def _run(self, capacity: int, snapshot: Path | None = None) -> Run:
        with temporary_folder("ffprof-script-") as folder:
            variables = self._variables(folder, capacity, snapshot is not None)
            ending = run_command(
                self.request.command,
                variables,
                self.request.time_limit,
                is_done=lambda: _all_finished(folder),
                marked_by=FOLDER,
            )
            reports = read_reports(folder)
            if snapshot is not None and reports:
                _take_snapshot(folder / f"snapshot.{reports[0].pid}", snapshot)
            return Run(
                capacity=capacity,
                ending=ending,
                reports=reports,
                device=read_report(folder),
                steps=self.request.steps,
            )

    def _variables(self, folder: Path, capacity: int, snapshot: bool) -> dict[str, str]:
        made = inherited() | environment(self.target.device_with(capacity), folder)
        # As if the environment that ffprof is installed in were active.
        made["PATH"] = _before(str(Path(sys.executable).parent), made.get("PATH"))
        made["PYTHONPATH"] = _before(str(HOOK_FOLDER), made.get("PYTHONPATH"))
        made |= {FOLDER: str(folder), STEPS: str(self.request.steps)}
        if snapshot:
            made[SNAPSHOT] = str(folder / "snapshot")
        if self.target.allocator_conf:
            made["PYTORCH_ALLOC_CONF"] = self.target.allocator_conf
        return made


def _before(first: str, others: str | None) -> str:
    return os.pathsep.join([first, *([others] if others else [])])


def _all_finished(folder: Path) -> bool:
    """Whether every process that trained has done its steps."""
    reports = [one for one in read_reports(folder) if one.steps or one.problem]
    return bool(reports) and all(one.finished for one in reports)


def _take_snapshot(made: Path, wanted: Path) -> None:
    if not made.exists():
        return
    try:
        with replacement(wanted) as file, made.open("rb") as source:
            shutil.copyfileobj(source, file)
    except OSError as error:
        raise StoreError(
            f"--snapshot {wanted} cannot be written: {error.strerror or error}",
            "name a file in a folder you may write to",
        ) from error
