"""``ffprof check``: the gate of a CI job, which fails when a change costs memory or speed."""

from __future__ import annotations

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
    from collections.abc import Callable, Sequence

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
        help="Baseline: a result file, or a folder with one per recipe and torch version.",
        readable=False,
    ),
    current: Path = typer.Option(
        None,
        help="New result: a file, or a folder, of which the newest is used. Without it, the "
        "baseline's workloads are measured or estimated again here.",
        readable=False,
    ),
    thresholds: Path = typer.Option(
        None,
        help="TOML file with the allowed loss by metric and workload.",
        readable=False,
    ),
    budget: str = typer.Option(
        None, help="Memory limit for every workload, such as 7.5GiB, whatever the baseline used."
    ),
    throughput: Literal["gate", "advice", "off"] = typer.Option(
        None,
        help="Gate speeds, only report them, or leave them out; by default gate from 5 rounds.",
    ),
    update_baseline: bool = typer.Option(
        False,
        "--update-baseline",
        help="Replace the baseline with the new result, and print what changed.",
    ),
    rounds: int = typer.Option(
        None, min=1, max=1000, help="Trials of each workload; by default the baseline's."
    ),
    workload_file: list[Path] = typer.Option(
        [],
        help="The baseline's workload files, if they have moved.",
        readable=False,
    ),
    card_file: list[Path] = CARD_FILES,
    data: str = typer.Option(
        None, help="The baseline's images, if they have moved; written as in ffprof run."
    ),
    on_foreign: OnForeign = ON_FOREIGN,
    time_limit: float = typer.Option(
        None, min=0.1, help="Time limit of a trial in seconds; by default the baseline's."
    ),
    run_limit: float = typer.Option(
        None, min=0.1, help="Time limit in seconds for measuring a baseline again."
    ),
    out: Path = typer.Option(
        None, help="Folder to store the new result in; by default it is not stored."
    ),
    everything: bool = typer.Option(False, "--all", help="Also list what passed."),
    format: Literal["table", "markdown", "json", "github"] = FORMAT,
) -> None:
    """Fail if memory or speed got worse than a baseline.

    Without --current, the baseline's workloads are first measured or estimated again here.

    Exits with 0 if nothing got worse, 1 if something regressed, 2 if the command or a file is
    wrong, 3 if nothing could be judged, and 4 if something was not measured or cannot be decided.
    """
    from ffprof.cli.output.check import print_checks
    from ffprof.experiments.check.runner import CheckRequest, run_checks
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
        CheckRequest(
            baseline=baseline,
            current=current,
            thresholds=thresholds,
            budget=budget,
            throughput=throughput,
            update=update_baseline,
            begin=lambda pairs: _begin(pairs, card_file),
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


def _begin(pairs: Sequence[tuple[Path, Record]], card_files: Sequence[Path]) -> None:
    from ffprof.experiments.audit.emulation import all_on_device_of

    all_on_device_of(pairs, card_files)


def _again(**options: Any) -> Callable[[Record, Path], Record]:
    """Measures again what a baseline holds; what that imports a check of two files does without."""

    def again(baseline: Record, path: Path) -> Record:
        from ffprof.cli.output.console import Notices
        from ffprof.cli.output.progress import progress_for
        from ffprof.experiments.check.rerun import run_again

        progress, say = progress_for(), Notices().print
        return run_again(baseline, path, progress=progress, say=say, **options)

    return again
