"""What must hold of every file that is read: one line says what is wrong, or all goes well."""

import io
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from rich.console import Console

from ffprof.analysis.comparison import compare_records, two_rows
from ffprof.analysis.contradictions import alarms, checks_of
from ffprof.analysis.frontier.standings import settle
from ffprof.analysis.gates.thresholds import read_thresholds, require_known
from ffprof.analysis.summary import summarise
from ffprof.analysis.verdicts import judge
from ffprof.errors import RecordError, UsageError
from ffprof.experiments.reproduction import reproduction_of
from ffprof.hardware.machine import compare_machines
from ffprof.records.audit import Record
from ffprof.records.frontier import FrontierRecord
from ffprof.records.store import Reading, load, load_any, load_frontier, text_of
from ffprof.report.comparison import comparison_document, comparison_json
from ffprof.report.document import printable
from ffprof.report.exporters import html, markdown
from ffprof.report.exporters.terminal import print_document
from ffprof.report.kinds import document_of, json_of
from ffprof.report.verification import Verification, verification_document, verification_json

LONGEST = 1500  # characters of an error
RESULTS = Path(__file__).resolve().parents[2] / "results"


@cache
def whole_audit():
    """One that nothing is wrong with."""
    return load(RESULTS / "audit-cifar-cpu.json")


def read_or_refused(path):
    """The record, or None where it is refused in one line, by all readers."""
    found = None
    for reader in (load_any, load, load_frontier):
        try:
            found = found or reader(path)
        except RecordError as error:
            told(error)
    return found


def survives(record):
    """The record goes through all that is done with one."""
    text = record.model_dump_json()
    assert type(record).model_validate_json(text) == record
    shown = json_of(record)
    printed(shown)
    assert json.loads(shown) == json.loads(text_of(record))
    if isinstance(record, Record):
        summarise(record)
        record.missing()
        judge(record)
        _compared(record)
    elif isinstance(record, FrontierRecord) and record.kind == "frontier":
        settle(record)
    for document in (document_of(record), _verified(record)):
        text = markdown.render(document)
        printed(text)
        no_markup(text)
        page = html.render(document)
        printed(page)
        no_foreign_tags(page)
        printed(_shown(lambda console, shown=document: print_document(shown, console)))


def _verified(record):
    """What verify and report add to a file, as if it had been changed."""
    reading = Reading(path=Path("a"), record=record, digest="", belonging="differs")
    made = reproduction_of(record)
    found = Verification(
        file="a", checks=checks_of(reading), command=made.command, made_with=made.made_with,
        notes=made.notes,
    )  # fmt: skip
    json.dumps(verification_json(found))
    document = verification_document(found)
    return printable(replace(document, alarms=alarms(reading)))


def no_markup(text):
    """Nothing in Markdown is a tag, a link or a picture but what is inside of code."""
    lines = [line for line in text.split("\n") if not line.startswith("    ")]
    odd = [line for line in lines if re.search(r"(?<!\\)(\\\\)*[<\[]", line)]
    assert not odd, [ascii(line[:LONGEST]) for line in odd]


def no_foreign_tags(page):
    """A page has the tags of its exporter and no other."""
    seen = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.add(tag)
    parser.handle_comment = lambda data: seen.add("comment")
    parser.feed(page)
    assert seen <= TAGS, seen


TAGS = {
    "div", "h3", "h4", "p", "small", "strong", "pre", "ul", "li", "table", "thead", "tbody", "tr",
    "th", "td",
}  # fmt: skip


def _compared(record):
    """With itself, and with an audit that is whole; other recipes are refused."""
    whole = whole_audit()
    for before, after in ((record, record), (whole, record), (record, whole)):
        try:
            found = compare_records(before, after)
        except UsageError as error:
            told(error)
            continue
        compare_machines(before.machine, after.machine, "cpu")
        printed(json.dumps(comparison_json(found, ("a", "b"), ()), allow_nan=False))
        printed(markdown.render(comparison_document(found, ("a", "b"), ())))
    names = record.plan.workloads
    try:
        made = two_rows(record, names[0], names[-1])
    except UsageError as error:
        told(error)
    else:
        printed(markdown.render(document_of(made)))


def told(error):
    """An error is one short line that a terminal does not obey."""
    text = str(error)
    assert text.isprintable() and len(text) < LONGEST, ascii(text[:LONGEST])


def thresholds_or_refused(path):
    """The thresholds, or None where they are refused in one line."""
    try:
        found = read_thresholds(path)
    except UsageError as error:
        told(error)
        return None
    for name in (*found.workloads, "another"):
        own = found.of(name)
        for rise in (own.allocated, own.reserved, own.live, own.flops, own.operators):
            assert rise.allowed(0) >= 0 <= rise.allowed(2**63 - 1)
    try:
        require_known(found, ["one", "two"], str(path))
    except UsageError as error:
        told(error)
    return found


def printed(text):
    """Nothing in it is obeyed by a terminal."""
    odd = [line for line in text.split("\n") if not line.isprintable()]
    assert not odd, [ascii(line[:LONGEST]) for line in odd]


def _shown(show):
    file = io.StringIO()
    show(Console(file=file, width=100, highlight=False))
    return file.getvalue()
