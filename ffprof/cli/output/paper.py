"""A paper's statements in a table, and what is said while ``--run`` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ffprof.analysis.statements.table import Line, answer_paper, open_commands
from ffprof.cli.common_options import Format
from ffprof.cli.interrupts import Terminated, interrupt_code
from ffprof.cli.output.console import Notices, print_json
from ffprof.cli.output.progress import progress_for
from ffprof.cli.output.result import print_document
from ffprof.errors import DeviceError
from ffprof.experiments.options import BudgetChoice
from ffprof.experiments.paper.plan import PaperRun, find_sources
from ffprof.records.statement import Paper
from ffprof.report.paper import paper_document, paper_json


def print_paper(
    paper: Paper, folders: Sequence[Path], format: Format, budget: BudgetChoice | None
) -> None:
    """The table, from the result files of ``folders``; ``budget`` is what to forecast for, if at
    all.

    Raises:
        FfprofError: a folder cannot be read, or nothing can be forecast.
    """
    sources, notes = find_sources(folders)
    if not folders:
        notes = ["no folder of result files is here: name one with --records DIR", *notes]
    lines = answer_paper(paper, sources)
    if format == "json":
        print_json(paper_json(lines))
        return
    forecasts, card = None, ""
    if budget is not None:
        from ffprof.experiments.paper.forecast import forecast

        commands = [one.command for one in open_commands(lines)]
        forecasts = forecast(commands, budget, progress_for())
        card = budget.card.name if budget.card else budget.budget.requested
    of_one = format == "markdown" and len(folders) == 1
    made_by = f"ffprof paper -f markdown --records {folders[0]}" if of_one else ""
    document = paper_document(
        paper, lines, notes=notes, made_by=made_by, card=card, forecasts=forecasts
    )
    print_document(document, format)


def run_paper(paper: Paper, folders: Sequence[Path], asked: PaperRun) -> int:
    """Run what is not settled by the result files of ``folders``; the exit code.

    Raises:
        FfprofError: nothing can be run: a folder cannot be used, or there is no GPU as requested.
    """
    from ffprof.experiments.paper.runner import has_gpu, run_commands

    say = Notices().print
    lines: Sequence[Line] = answer_paper(paper, find_sources(folders)[0])
    small = asked.device == "cpu" or not has_gpu()
    if small and asked.device == "cuda":
        raise DeviceError("--device cuda: there is no GPU that torch can use", "use --device cpu")
    if small:
        say("no GPU is used: what a processor can do, on stand-ins and by estimates")
    commands = [one.command for one in open_commands(lines, small=small)]
    if not commands:
        say("nothing is left to run here")
        return 0
    ran = run_commands(commands, asked, lambda: progress_for(), say)
    told = f"{ran.done} of {len(commands)} done"
    if ran.passed_over:
        told += f", {len(ran.passed_over)} passed over"
    say(told + (f"; stopped early: {ran.stopped}; the same command goes on" if ran.stopped else ""))
    if isinstance(ran.interrupt, Terminated) and ran.interrupt.hung_up:
        raise ran.interrupt
    return 0 if ran.interrupt is None else interrupt_code(ran.interrupt)
