"""What must hold of every file that is read: one line says what is wrong, or all goes well."""

import io
import json
from functools import cache
from pathlib import Path

from rich.console import Console

from ffprof.analysis.comparison import compare_records, two_rows
from ffprof.analysis.frontier.standings import settle
from ffprof.analysis.gates.thresholds import read_thresholds, require_known
from ffprof.analysis.summary import summarise
from ffprof.analysis.verdicts import judge
from ffprof.errors import RecordError, UsageError
from ffprof.hardware.machine import compare_machines
from ffprof.records.audit import Record
from ffprof.records.frontier import FrontierRecord
from ffprof.records.store import load, load_any, load_frontier, text_of
from ffprof.report.comparison import comparison_document, comparison_json
from ffprof.report.exporters import html, markdown
from ffprof.report.exporters.terminal import print_document
from ffprof.report.kinds import document_of, json_of

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
    document = document_of(record)
    printed(markdown.render(document))
    printed(html.render(document))
    printed(_shown(lambda console: print_document(document, console)))


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
