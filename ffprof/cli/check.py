"""``ffprof check``: the gate of a CI job, which fails when a change costs memory or speed."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from ffprof.cli.common_options import (
    CARD_FILES,
    FORMAT,
    ON_FOREIGN,
    OnForeign,
    option_words,
    written_options,
)
from ffprof.cli.interrupts import end_when_asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffprof.records.audit import Record

# Of the run that a check makes where no result is given.
_OF_A_RUN = (
    "rounds", "workload_file", "card_file", "data", "on_foreign", "time_limit", "run_limit", "out",
)  # fmt: skip
# What a check that makes a new baseline is asked again; where to keep the result is not.
_REPEATED = {"thresholds", "budget", "throughput", *_OF_A_RUN} - {"out"}


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
    throughput: Literal["gate", "advice", "off"] = typer.Option(
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
    card_file: list[Path] = CARD_FILES,
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
    format: Literal["table", "markdown", "json", "github"] = FORMAT,
) -> None:
    """Fail if memory or speed got worse than a baseline.

    Without --current, what the baseline holds is first measured or estimated again here.

    Exits with 0 if nothing got worse, 1 if something regressed, 2 if the command or a file is
    wrong, 3 if nothing could be judged, and 4 if something was not measured or cannot be decided.
    """
    from ffprof.cli.output.check import print_checks
    from ffprof.experiments.check.runner import Asked, run_checks
    from ffprof.report.exporters.check import code_of

    written = written_options(context)
    given = [name for name in written if name in _OF_A_RUN]
    if current is not None and given:
        from ffprof.errors import UsageError

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
            throughput=throughput,
            update=update_baseline,
            again=_again(
                out=out,
                rounds=rounds,
                time_limit=time_limit,
                run_limit=run_limit,
                workload_files=workload_file,
                card_files=card_file,
                data=data,
                on_foreign=on_foreign,
            ),
            options=option_words({name: written[name] for name in written if name in _REPEATED}),
        )
    )
    print_checks(checks, format, everything=everything)
    for one in checks:
        if one.refused:
            raise one.refused
    raise typer.Exit(code_of(checks))


def _again(**options: Any) -> Callable[[Record, Path], Record]:
    """Measures again what a baseline holds; what that imports a check of two files does without."""

    def again(baseline: Record, path: Path) -> Record:
        from rich.console import Console

        from ffprof.cli.progress import progress_for
        from ffprof.experiments.check.rerun import run_again

        notices = Console(stderr=True, highlight=False, soft_wrap=True)
        progress = progress_for(Console(stderr=True))
        say = functools.partial(notices.print, markup=False)
        return run_again(baseline, path, progress=progress, say=say, **options)

    return again
