"""Which result files there are, and what a paper's commands mean on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ffprof.analysis.contradictions import require_as_written
from ffprof.analysis.statements.answer import Source
from ffprof.errors import DataError, RecordError, UsageError
from ffprof.experiments.learning.options import LearningOptions
from ffprof.experiments.options import Options
from ffprof.harness.data.catalogue import DATA, find_place, lies_in
from ffprof.records.statement import Command
from ffprof.records.store import load_folder

RECORDS = (Path("results"), Path("audits"))  # where result files are looked for, the first there is


def default_folder() -> Path | None:
    """The first of the usual folders of results; None if there is none."""
    return next((one for one in RECORDS if one.is_dir()), None)


def find_sources(folders: Iterable[Path]) -> tuple[list[Source], list[str]]:
    """All result files of some folders, each once, and a note on each that cannot be read.

    Raises:
        RecordError: a folder is not there or cannot be read.
    """
    found: dict[Path, Source] = {}
    notes: list[str] = []
    for folder in folders:
        readings, problems = load_folder(folder)
        for one in readings:
            try:
                require_as_written(one)
            except RecordError as error:
                problems.append(error.problem)
            else:
                source = Source(name=one.path.name, record=one.record)
                found.setdefault(one.path.resolve(), source)
        notes += [f"passed over: {problem}" for problem in problems]
    return list(found.values()), list(dict.fromkeys(notes))


@dataclass(frozen=True, kw_only=True)
class PaperRun:
    """How ``ffprof paper --run`` was asked to run.

    ``limit_seconds`` is for all of it; None is no limit. ``data_root`` holds data sets, in it or in
    folders of their names.
    """

    out: Path
    data_root: Path | None = None
    limit_seconds: float | None = None
    device: str = "auto"


def data_words(command: Command, root: Path | None) -> str | None:
    """``--data`` of a command, with its folder if it is in ``root``; None without.

    Raises:
        DataError: the data is neither there nor where it is usually looked for.
    """
    name: str | None = command.options.get("data")
    info = DATA.get(name or "")
    if name is None or info is None or name == "digits":
        return name
    for folder in () if root is None else (root, root / name):
        if lies_in(info, folder):
            return f"{name}:{folder.absolute()}"
    if find_place(info) is not None:
        return name
    inside = "" if root is None else f" and not in {root}"
    raise DataError(
        f"{name} is not on this machine{inside}", f"ffprof data {name} says where to get it"
    )


def options_of(command: Command, asked: PaperRun) -> tuple[Options, LearningOptions]:
    """What the command would mean if it was typed here; an audit has no use for the second.

    Raises:
        DataError: there is no data.
        UsageError: it has an option that is none.
    """
    own, learning = Options.__dataclass_fields__, LearningOptions.__dataclass_fields__
    given: dict[str, Any] = dict(command.options)
    unknown = [name for name in given if name not in own and name not in learning]
    if unknown:
        raise UsageError(f"{command}: there is no option {unknown[0]!r}", "correct the paper")
    options = Options(
        **{"device": asked.device, **{name: v for name, v in given.items() if name in own}}
    )
    limit = LearningOptions.time_limit if command.verb == "learn" else options.time_limit
    options = replace(
        options,
        data=data_words(command, asked.data_root),
        estimates=False,
        time_limit=limit,
        run_limit=asked.limit_seconds,
        out=asked.out,
    )
    return options, LearningOptions(**{name: v for name, v in given.items() if name in learning})


def check_folder(option: str, folder: Path) -> None:
    """Refuse what is no folder.

    Raises:
        RecordError: it is not there, or is a file.
    """
    if not folder.is_dir():
        raise RecordError(f"{option} {folder} is not a folder", "name one that is there")
