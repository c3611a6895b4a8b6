"""A paper's statements with their answers: which result files answer what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ffprof.analysis.statements.answer import Answer, Source, not_run
from ffprof.analysis.statements.cost import cost, depth, unsupported
from ffprof.analysis.statements.learning import learned, reversal
from ffprof.records.statement import (
    Accuracy,
    Command,
    Cost,
    Depth,
    Lead,
    Paper,
    Question,
    Reversal,
    Statement,
    Unsupported,
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A statement and what is known of it."""

    statement: Statement
    answer: Answer


def answer_paper(paper: Paper, sources: Sequence[Source]) -> tuple[Line, ...]:
    """A line for each statement, in the paper's order.

    Args:
        paper: what is stated.
        sources: in any order; of those that answer, finished ones go before others, and then the
            newest wins.
    """
    ordered = sorted(sources, key=lambda one: (one.finished, one.record.created), reverse=True)
    return tuple(
        Line(statement=one, answer=answer_statement(one, ordered)) for one in paper.statements
    )


def answer_statement(statement: Statement, sources: Sequence[Source]) -> Answer:
    """By the first source that answers: the paper's own data first, then each stand-in.

    A figure on other data is not comparable; a sign or a word is, and the answer says what it is
    of.
    """
    question = statement.question
    for place in (own_place(question), *statement.stand_ins):
        answer = _ask(question, place, sources)
        if answer is None:
            continue
        if place == own_place(question):
            return answer
        told = f"with {place} in place of {own_place(question)}: {answer.sentence}"
        answer = replace(answer, stand_in=place, sentence=told)
        if isinstance(question, Accuracy | Lead | Cost):
            return replace(answer, agreement="not comparable")
        return answer
    if isinstance(question, Reversal):
        return reversal(question, question.real, sources, half=True) or not_run()
    return not_run()


def own_place(question: Question) -> str:
    """The data set, or for audits the preset, that a question is about."""
    if isinstance(question, Cost | Unsupported):
        return question.preset
    return "" if isinstance(question, Depth) else question.data


def _ask(question: Question, place: str, sources: Sequence[Source]) -> Answer | None:
    if isinstance(question, Cost):
        return cost(question, place, sources)
    if isinstance(question, Unsupported):
        return unsupported(question, place, sources)
    if isinstance(question, Depth):
        return depth(question, sources)
    if isinstance(question, Reversal):
        return reversal(question, place, sources)
    return learned(question, place, sources)


@dataclass(frozen=True, kw_only=True)
class Open:
    """A command that would say more than is known, and the statements that it is for."""

    command: Command
    statements: tuple[Statement, ...]


def open_commands(lines: Sequence[Line], *, small: bool = False) -> tuple[Open, ...]:
    """What to run for the lines that are not settled, the most telling first, each once.

    Args:
        lines: statements with their answers.
        small: what a processor can do; stand-ins and estimates settle a line then.
    """
    found: dict[str, Open] = {}
    for line in sorted(lines, key=lambda one: one.statement.rank):
        statement = line.statement
        if _settled(line, small=small):
            continue
        for command in statement.small if small else statement.commands:
            known = found.get(str(command), Open(command=command, statements=()))
            found[str(command)] = replace(known, statements=(*known.statements, statement))
    return tuple(found.values())


def _settled(line: Line, *, small: bool) -> bool:
    """Whether a run would say no more than is known."""
    answer = line.answer
    if answer.agreement == "not run" or not answer.finished:
        return False
    if small:
        return True
    of_audits = isinstance(line.statement.question, Cost | Unsupported | Depth)
    weak = ("estimated", "measured (cpu)") if of_audits else ()
    whole = answer.agreement != "not comparable" and not answer.stand_in
    return whole and answer.evidence not in weak
