"""The report of a paper: it fits, and says what each line is worth."""

from typing import get_args

from rich.console import Console

from ffprof.analysis.statements.answer import Agreement, Answer
from ffprof.analysis.statements.table import Line
from ffprof.records.statement import Accuracy, Command, Forecast, Paper, Statement
from ffprof.report.exporters.terminal import render
from ffprof.report.paper import paper_document, paper_json

COMMAND = Command(verb="learn", options={"data": "cifar10", "epochs": 9})
PAPER = Paper(title="A paper", source="somewhere", statements=(), reservation="not the paper's")


def line(agreement, figure, stand_in="", **more):
    statement = Statement(
        id=more.pop("id", "one"),
        words="x" * 31,
        figure="above 75 %",
        question=Accuracy(workload="a", data="cifar10", percent=75.0),
        commands=(COMMAND,),
    )
    fields = {"evidence": "measured (cpu)", "sources": ("learning-a.json",), "sentence": "so it is"}
    if agreement == "not run":
        return Line(statement=statement, answer=Answer(agreement=agreement))
    answer = Answer(
        agreement=agreement, figure=figure, stand_in=stand_in, finished=True, **{**fields, **more}
    )
    return Line(statement=statement, answer=answer)


def printed(document, width=80):
    console = Console(width=width, color_system=None)
    with console.capture() as said:
        console.print(render(document, width), crop=False)
    return said.get().splitlines()


def test_every_agreement_fits_eighty_columns():
    words = get_args(Agreement)
    lines = [line(word, "99.9 ± 0.9 %" if "," in word else "does not fit") for word in words]
    lines.append(line("contradicts", "changes sign", "fashion-mnist"))
    found = printed(paper_document(PAPER, lines))
    assert max(map(len, found)) <= 80
    assert sum("x" * 31 in text for text in found) == len(lines)


def test_evidence_and_files_are_below_and_on_wide_terminals_beside():
    document = paper_document(PAPER, [line("agrees", "76.0 %", "digits")])
    assert "agrees*" in "\n".join(printed(document))
    assert " - 1: so it is [measured (cpu), learning-a.json]" in printed(document)
    assert "* on other data than the paper's" in " ".join(printed(document))
    (row,) = [text for text in printed(document, 140) if "x" * 31 in text]
    assert "measured (cpu)" in row and "learning-a.json" in row


def test_what_is_open_has_its_command_data_and_forecast():
    lines = [line("not run", "-")]
    forecasts = {str(COMMAND): Forecast(seconds=7200.0, reserved_bytes=2**30, unfit=("a",))}
    told = " ".join(" ".join(printed(paper_document(PAPER, lines))).split())
    assert "ffprof learn --data cifar10 --epochs 9 (for 1; needs the data cifar10)" in told
    document = paper_document(PAPER, lines, card="A card", forecasts=forecasts)
    told = " ".join(" ".join(printed(document)).split())
    assert "about 2 h 00 min, 1.00 GiB, does not fit: a" in told
    assert "forecast (estimated) for A card" in told


def test_programs_read_the_same():
    (found,) = paper_json([line("agrees", "76.0 %")])
    assert found["agreement"] == "agrees"
    assert found["ours"] == "76.0 %"
    assert found["commands"] == ["ffprof learn --data cifar10 --epochs 9"]
    assert found["stand_in"] is None
