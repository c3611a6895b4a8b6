"""``ffprof report``: a result file as a table or as Markdown, without a GPU and without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ffprof.cli.common_options import FORMAT, FULL, RELATIVE_TO, Format

if TYPE_CHECKING:
    from ffprof.records.audit import Record
    from ffprof.records.store import AnyRecord
    from ffprof.report.document import Document


def report(
    file: Path = typer.Argument(help="A result file, or a folder that holds one.", readable=False),
    format: Format = FORMAT,
    full: bool = FULL,
    relative_to: str = RELATIVE_TO,
    judge: bool = typer.Option(
        False, "--judge", help="Judge the claims again by the rules of this version of ffprof."
    ),
    plot: str = typer.Option(
        None,
        help="Draw a learning study: curves, accuracy-memory, accuracy-time, accuracy-energy "
        "or gap.",
    ),
    learned: Path = typer.Option(
        None,
        help="Of an audit: add the accuracies of this learning study to its rows.",
        readable=False,
    ),
    output: Path = typer.Option(None, help="With --plot: a .png, .svg or .pdf file."),
    other: Path = typer.Option(
        None, "--with", help="With --plot: a second study, drawn next to it.", readable=False
    ),
) -> None:
    """Print a result file of any kind, or draw it.

    Verdicts are those stored in the file, unless --judge is given; those of a learning study are
    made anew from its runs.
    """
    from ffprof.analysis.contradictions import require_as_written
    from ffprof.cli.output.result import print_reading
    from ffprof.errors import UsageError
    from ffprof.records.learning import LearningRecord
    from ffprof.records.store import RESULT_FILES, find_record, read_any
    from ffprof.report.kinds import document_of
    from ffprof.report.learning import learning_document

    path = find_record(file, RESULT_FILES)
    reading = read_any(path)
    record = reading.record
    if plot is not None:
        for one in (reading, *([read_any(other)] if other else [])):
            require_as_written(one)
        _draw(record, plot, output, other)
        return
    if output is not None or other is not None:
        raise UsageError("--output and --with are for --plot", "say what to draw")
    if judge:
        record = _judged(record)
    if isinstance(record, LearningRecord) and learned is None:
        _check_format("--relative-to" if relative_to else "", format)
        document = learning_document(record, path, relative_to)
    elif learned is not None or relative_to is not None:
        document = _audit(record, learned, relative_to, format)
    else:
        document = document_of(record)
    given = {"--relative-to": relative_to, "--learned": learned}
    words = [word for name, value in given.items() if value for word in (name, str(value))]
    words += ["--judge"] if judge else []
    print_reading(reading, record, document, format, path=path, full=full, words=words)


def _draw(record: AnyRecord, plot: str, output: Path | None, other: Path | None) -> None:
    from ffprof.cli.output.console import Notices
    from ffprof.errors import UsageError
    from ffprof.experiments.question import check_file, check_plot
    from ffprof.records.learning import LearningRecord
    from ffprof.records.store import load_learning
    from ffprof.report.exporters.learning_plots import PLOTS, draw_learning

    if not isinstance(record, LearningRecord):
        kind = getattr(record, "kind", "audit")
        raise UsageError(
            f"--plot {plot}: this is no learning study but a result of kind {kind!r}",
            f"a learning study has {', '.join(PLOTS)}; frontier and estimate draw with their own",
        )
    if output is None:
        raise UsageError("--plot needs a file", "add --output fig.pdf")
    check_plot(output, "--output")
    check_file("--output", output)
    beside = [] if other is None else [load_learning(other)]
    draw_learning([record, *beside], plot, output)
    Notices().print(f"written to {output}")


def _check_format(option: str, format: Format) -> None:
    """What an option makes anew is in no file, so JSON has nothing of it."""
    from ffprof.errors import UsageError

    if option and format == "json":
        raise UsageError(f"{option} has the formats table and markdown", "choose one of them")


def _audit(
    record: AnyRecord, learned: Path | None, relative_to: str | None, format: Format
) -> Document:
    from ffprof.analysis.contradictions import require_as_written
    from ffprof.errors import UsageError
    from ffprof.records.audit import Record
    from ffprof.records.store import find_record, load_learning, read_any
    from ffprof.report.audit import learned_from, make_document

    option = "--relative-to" if learned is None else "--learned"
    if not isinstance(record, Record):
        raise UsageError(f"{option} is for the rows of an audit", "name the file of an audit")
    _check_format(option, format)
    accuracies = None
    if learned is not None:
        path = find_record(learned, ("learning-*.json",))
        require_as_written(read_any(path))
        accuracies = learned_from(load_learning(path), path.name)
    return make_document(record, accuracies, relative_to or "")


def _judged(record: AnyRecord) -> Record:
    from ffprof.analysis.verdicts import judge
    from ffprof.errors import UsageError
    from ffprof.records.audit import Record

    if not isinstance(record, Record):
        raise UsageError(f"--judge: a {record.kind} makes no claims", "leave it out")
    return record.model_copy(update={"verdicts": judge(record)})
