"""``ffprof paper``: what a paper states against what is known here; ``--run`` finds out more."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from ffprof.cli.common_options import FORMAT, Format, complete_cards

MOST_HOURS = 10_000
PaperDevice = Literal["auto", "cuda", "cpu"]


def paper(
    name: str = typer.Argument(None, help="A registered paper, where there are several."),
    records: Path = typer.Option(
        None,
        help="Folder of result files; results by default, or audits if there is none.",
        readable=False,  # said by who reads it, in one line
    ),
    forecast: bool = typer.Option(
        None,
        "--forecast/--no-forecast",
        help="Estimate what the commands not run would take; takes a minute. With --card it does.",
    ),
    card: str = typer.Option(
        None,
        help="What to forecast for; a card sold with 8GB by default.",
        autocompletion=complete_cards,
    ),
    run: bool = typer.Option(
        False, "--run", help="Run what is not known, the most telling first, and print the table."
    ),
    data_root: Path = typer.Option(
        None, help="With --run: folder of data sets, or of folders of their names.", readable=False
    ),
    limit: float = typer.Option(None, help="With --run: time limit of the whole run in hours."),
    device: PaperDevice = typer.Option(
        "auto", help="With --run: cpu runs what a processor can do in minutes, on stand-ins."
    ),
    out: Path = typer.Option(None, help="With --run: folder for result files; audits by default."),
    format: Format = FORMAT,
) -> None:
    """Hold a paper's statements against result files.

    A line for each statement: the paper's figure, ours, and how far they agree. What was not run is
    listed with the command that would answer it.
    """
    from ffprof.cli.interrupts import end_when_asked
    from ffprof.cli.output.paper import print_paper, run_paper
    from ffprof.errors import UsageError
    from ffprof.experiments.options import Options, choose_budget
    from ffprof.experiments.paper.plan import PaperRun, check_folder, default_folder
    from ffprof.records.files import prepare_folder
    from ffprof.workload import find_paper

    found = find_paper(name)
    of_runs = {"--data-root": data_root, "--limit": limit, "--out": out}
    given = next((option for option, value in of_runs.items() if value is not None), None)
    if given is not None and not run:
        raise UsageError(f"{given} is for --run", "add it, or leave this out")
    if limit is not None and not 0 < limit <= MOST_HOURS:
        raise UsageError(
            f"--limit {limit:g} is no time to run in", f"name hours, more than 0 to {MOST_HOURS:,}"
        )
    if data_root is not None:
        check_folder("--data-root", data_root)
    if records is not None:
        check_folder("--records", records)
    wanted = card is not None if forecast is None else forecast
    budget = choose_budget(None, card) if wanted or card is not None else None
    place = records or default_folder()
    folders = [] if place is None else [place]
    code = 0
    if run:
        end_when_asked()
        asked = PaperRun(
            out=out or Options.out,
            data_root=data_root,
            limit_seconds=None if limit is None else 3600 * limit,
            device=device,
        )
        prepare_folder(asked.out)
        folders = [one for one in dict.fromkeys([*folders, asked.out]) if one.is_dir()]
        code = run_paper(found, folders, asked)
    print_paper(found, folders, format, budget if wanted else None)
    raise typer.Exit(code)
