"""Runs what would answer a paper's statements, one command after the other, each resumable.

A study or an audit is the same as if it was typed: it goes through the functions of ``ffprof
learn`` and ``ffprof run``, and its record holds the command, by which it is known again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ffprof.errors import FfprofError
from ffprof.experiments.audit.looks import remember_new
from ffprof.experiments.audit.plan import prepare
from ffprof.experiments.audit.resume import resumed
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.campaign import Outcome, Progress
from ffprof.experiments.learning.plan import prepare_study
from ffprof.experiments.learning.resume import resumed_study
from ffprof.experiments.learning.runner import run_study
from ffprof.experiments.paper.plan import PaperRun, data_words, options_of
from ffprof.experiments.selection import choose_preset
from ffprof.experiments.session import open_session
from ffprof.records.audit import Record
from ffprof.records.learning import LearningRecord
from ffprof.records.statement import Command
from ffprof.records.store import load_folder
from ffprof.units import format_seconds

Said = Callable[[str], None]
MakeProgress = Callable[[], Progress]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What was done: commands that were run to their end, those passed over, and what is left.

    ``stopped`` says what ended it early, with the exception if it was the user.
    """

    done: int
    passed_over: tuple[str, ...]
    left: int
    stopped: str | None = None
    interrupt: BaseException | None = None


def has_gpu() -> bool:
    """Whether torch finds a GPU here; asked of a child.

    Raises:
        DeviceError: torch cannot be started.
    """
    with open_session(choose_preset(None, "cpu").recipe) as session:
        return session.found.cuda


def run_commands(
    commands: Sequence[Command],
    asked: PaperRun,
    progress: MakeProgress,
    say: Said,
    now: Callable[[], float] = time.monotonic,
) -> Ran:
    """Run them in order, until all are done, time is over, or the user ends it.

    What cannot be run here is passed over and said; what is done stays on the disk.

    Args:
        commands: the most telling first.
        asked: where results go, where data are, and how long all may take.
        progress: made for each command.
        say: told what begins, and what is passed over.
        now: a clock in seconds.
    """
    began, done = now(), 0
    passed: list[str] = []
    for number, command in enumerate(commands):
        left = None if asked.limit_seconds is None else asked.limit_seconds - (now() - began)
        rest = len(commands) - number
        if left is not None and left < 1:
            stopped = f"the limit of {format_seconds(asked.limit_seconds or 0)} is over"
            return Ran(done=done, passed_over=tuple(passed), left=rest, stopped=stopped)
        say(f"{number + 1} of {len(commands)}: {command}")
        try:
            outcome = _run(command, replace(asked, limit_seconds=left), progress, say)
        except FfprofError as error:
            passed.append(f"{command}: {error}")
            say(f"passed over: {error}")
            continue
        except KeyboardInterrupt as error:  # before its first child
            outcome = Outcome(record=None, stopped="interrupted", interrupt=error)
        if outcome is not None and outcome.stopped:
            return Ran(
                done=done,
                passed_over=tuple(passed),
                left=rest,
                stopped=outcome.stopped,
                interrupt=outcome.interrupt,
            )
        done += 1
    return Ran(done=done, passed_over=tuple(passed), left=0)


def _run(
    command: Command, asked: PaperRun, progress: MakeProgress, say: Said
) -> Outcome[Any] | None:
    """What came of a command; None where there is a whole record of it."""
    path, record = _known(command, asked.out)
    if record is not None and not record.missing():
        say(f"is done already: {path}")
        return None
    resumes = record is not None and record.evidence != "estimated"
    given: dict[str, Any] = {}
    if resumes:
        say(f"goes on: {path}")
        words = data_words(command, asked.data_root)
        given = {} if words is None or ":" not in words else {"data": words}
        given |= {} if asked.limit_seconds is None else {"run_limit": asked.limit_seconds}
    options, learning = options_of(command, asked)
    if command.verb == "learn":
        study = resumed_study(path, given) if resumes else prepare_study(options, learning)
        with study as request:
            own = replace(request, record=_of(command, request.record))
            outcome: Outcome[Any] = run_study(own, progress())
            say(f"written to {request.path}")
            return outcome
    outcomes: Outcome[Any] | None = None
    with resumed(path, given) if resumes else prepare(options) as requests:
        for one in requests:
            outcomes = run_audit(replace(one, record=_of(command, one.record)), progress())
            if one.device == "cuda" and one.target is None:
                remember_new(outcomes.record, one.record)
            say(f"written to {one.path}")
            if outcomes.stopped:
                break
    return outcomes


def _of(command: Command, record: Any) -> Any:
    """The record with the command that it can be told by."""
    return record.model_copy(update={"command": str(command)})


def _known(command: Command, folder: Path) -> tuple[Path, Record | LearningRecord | None]:
    """The newest record of a command, a whole one if there is one."""
    if not folder.is_dir():
        return folder, None
    found = [
        (reading.path, one)
        for reading in load_folder(folder)[0]
        if isinstance(one := reading.record, Record | LearningRecord)
        and one.command == str(command)
    ]
    found.sort(key=lambda pair: (not pair[1].missing(), pair[1].created))
    return found[-1] if found else (folder, None)
