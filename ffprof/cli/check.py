"""``ffprof check``: the gate of a CI job, which fails when a change costs memory or speed."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from ffprof.cli.common_options import (
    CARD_FILE,
    ON_FOREIGN,
    OnForeign,
    option_words,
    written_options,
)
from ffprof.cli.interrupts import end_when_asked
from ffprof.cli.progress import progress_for
from ffprof.errors import UsageError
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.check.rerun import _prepared
from ffprof.experiments.request import Request
from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Record
from ffprof.records.files import prepare_folder, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ffprof.analysis.gates.result import Checked
    from ffprof.records.audit import Record

# Of the run that a check makes where no result is given.
_OF_A_RUN = (
    "rounds", "workload_file", "card_file", "data", "on_foreign", "time_limit", "run_limit", "out",
)  # fmt: skip
# What a check that makes a new baseline is asked again; where to keep the result is not.
_REPEATED = {"thresholds", "budget", "throughput", *_OF_A_RUN} - {"out"}


class CheckFormat(StrEnum):
    """How a check is written."""

    table = "table"
    markdown = "markdown"
    json = "json"
    github = "github"


class OnThroughput(StrEnum):
    """What becomes of throughput."""

    gate = "gate"
    advice = "advice"
    off = "off"


def check(
    context: typer.Context,
    baseline: Path = typer.Option(
        ...,
        help="What it was: a result file, or a folder with one for every recipe and torch.",
        readable=False,
    ),
    current: Path = typer.Option(
        None,
        help="What it is: a result file, or a folder, of which the newest is taken. Without it, "
        "what the baseline holds is measured or estimated again here.",
        readable=False,
    ),
    thresholds: Path = typer.Option(
        None,
        help="A TOML file: how much may be lost, by metric and workload.",
        readable=False,
    ),
    budget: str = typer.Option(
        None, help="The most that any workload may take, such as 7.5GiB, whatever it took."
    ),
    throughput: OnThroughput = typer.Option(
        None,
        help="Judge speeds, only tell them, or leave them out; by default judge from 5 rounds.",
    ),
    update_baseline: bool = typer.Option(
        False, "--update-baseline", help="Make the new result the baseline, and say what changed."
    ),
    rounds: int = typer.Option(
        None, min=1, max=1000, help="Trials of each workload; by default the baseline's."
    ),
    workload_file: list[Path] = typer.Option(
        [],
        help="Where the baseline's workload files are now, if they have moved.",
        readable=False,
    ),
    card_file: list[Path] = CARD_FILE,
    data: str = typer.Option(None, help="Where the baseline's images are now, as in ffprof run."),
    on_foreign: OnForeign = ON_FOREIGN,
    time_limit: float = typer.Option(
        None, min=0.1, help="Seconds a trial may take; by default the baseline's."
    ),
    run_limit: float = typer.Option(
        None, min=0.1, help="Seconds that measuring a baseline again may take."
    ),
    out: Path = typer.Option(None, help="Folder to keep the new result in; by default it is not."),
    everything: bool = typer.Option(False, "--all", help="List what passed, too."),
    format: CheckFormat = typer.Option(
        CheckFormat.table, "--format", "-f", help="How to write it."
    ),
) -> None:
    """Fail if memory or speed got worse than a baseline.

    Without --current, what the baseline holds is first measured or estimated again here.

    Exits with 0 if nothing got worse, 1 if something regressed, 2 if the command or a file is
    wrong, 3 if nothing could be judged, and 4 if something was not measured or cannot be decided.
    """
    from ffprof.experiments.check.runner import Asked, run_checks
    from ffprof.report.exporters.check import code_of

    written = written_options(context)
    given = [name for name in written if name in _OF_A_RUN]
    if current is not None and given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is for measuring again, and --current is measured",
            "leave one of them out",
        )
    end_when_asked()
    checks = run_checks(
        Asked(
            baseline=baseline,
            current=current,
            thresholds=thresholds,
            budget=budget,
            throughput=None if throughput is None else throughput.value,
            update=update_baseline,
            again=_again(
                out=out,
                rounds=rounds,
                time_limit=time_limit,
                run_limit=run_limit,
                workload_files=workload_file,
                card_files=card_file,
                data=data,
                on_foreign=on_foreign.value,
            ),
            options=option_words({name: written[name] for name in written if name in _REPEATED}),
        )
    )
    _print(checks, format, everything)
    for one in checks:
        if one.refused:
            raise one.refused
    raise typer.Exit(code_of(checks))


def _again(**options: Any) -> Callable[[Record, Path], Record]:
    """Measures again what a baseline holds; what that imports a check of two files does without."""

    def again(baseline: Record, path: Path) -> Record:

        return run_again(baseline, path, **options)

    return again


def _print(checks: Sequence[Checked], format: CheckFormat, everything: bool) -> None:
    from ffprof.report.exporters import check as formats

    if format is CheckFormat.json:
        print(formats.checks_json(checks))
    elif format is CheckFormat.markdown:
        sys.stdout.write(formats.checks_markdown(checks, everything=everything))
    elif format is CheckFormat.github:
        print("\n".join(formats.github_lines(checks)))
        _summarise(formats.github_summary(checks))
    else:
        from ffprof.report.check import checked_document
        from ffprof.report.exporters.terminal import OutputConsole, print_document

        console = OutputConsole()
        for number, found in enumerate(checks):
            if number:
                console.print()
            print_document(checked_document(found, everything=everything), console)


def _summarise(text: str) -> None:
    """Append to the job's summary, if this is a job that has one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(
            f"ffprof: the job's summary was not written: {error.strerror or error}",
            file=sys.stderr,
        )


def run_again(
    baseline: Record,
    baseline_path: Path,
    out: Path | None = None,
    *,
    rounds: int | None = None,
    time_limit: float | None = None,
    run_limit: float | None = None,
    workload_files: Sequence[Path] = (),
    card_files: Sequence[Path] = (),
    data: str | None = None,
    on_foreign: Policy = "warn",
) -> Record:
    """Make the audit of a baseline again and return its record; progress goes to stderr.

    Recipe, rows, budget and kind of evidence are the baseline's. What registers the rows and what
    is in workload files is read as it is now. Rows that are gone are left out and noted; whether
    any trial gave a number is for the caller to see.

    Args:
        baseline: the record.
        baseline_path: its file, for messages.
        out: the folder of the new result file; None keeps none.
        rounds: instead of the baseline's; an estimate has one.
        time_limit: seconds of a trial, instead of the baseline's.
        run_limit: seconds of all; what is done by then is returned. Without, there is none.
        workload_files: instead of those that the baseline names.
        card_files: profiles of the user's own, for a baseline on such a card.
        data: what ``--data`` means, where the baseline's images lie elsewhere now.
        on_foreign: what to do about processes of others on the GPU.

    Raises:
        DeviceError: the baseline was measured on a GPU, and there is none of its kind.
        UsageError: its rows or its card are not known here, or this machine has fewer processors
            than it measured with.
        DataError: its images are gone, or are others.
        StoreError: the result cannot be written.
        KeyboardInterrupt: as it came, after what is done was stored.
    """
    changes = {"rounds": rounds, "trial_limit_seconds": time_limit}
    plan = baseline.plan.model_copy(
        update={name: value for name, value in changes.items() if value is not None}
        | {"run_limit_seconds": run_limit}
    )
    with _folder(out) as folder:
        request_for = _prepared(
            baseline, baseline_path, folder, plan, workload_files, card_files, data, on_foreign
        )
        with request_for as request, writing(request.path):
            return _run(request, kept=out is not None)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        prepare_folder(out)
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="ffprof-") as folder:
        yield Path(folder)


def _run(request: Request, *, kept: bool) -> Record:
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    outcome = run_audit(request, progress_for(Console(stderr=True)))
    record = outcome.record
    if request.device == "cuda" and request.target is None and (problem := remember(record)):
        notices.print(problem, markup=False)
    if kept and (record.trials or record.ledger):
        notices.print(f"written to {request.path}", markup=False)
    if outcome.stopped:
        missing = len(record.missing())
        notices.print(f"stopped early: {outcome.stopped}; missing trials: {missing}")
        if kept and record.trials and request.target is None:
            file = shlex.quote(str(request.path))
            notices.print(f"resume with: ffprof run --resume {file}", markup=False)
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return record
