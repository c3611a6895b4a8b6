"""What must hold of every file that is read: one line says what is wrong, or all goes well."""

import io
import json

from rich.console import Console

from ffprof.audit.store import load
from ffprof.audit.store_frontier import load_any, load_frontier
from ffprof.compare.standing import settle
from ffprof.compare.summary import summarise
from ffprof.compare.verdicts import judge
from ffprof.errors import RecordError
from ffprof.record import Record
from ffprof.report import markdown
from ffprof.report.documents import document_of, json_of
from ffprof.report.frontier import frontier_markdown, print_frontier
from ffprof.report.terminal import print_document

LONGEST = 1500  # characters of an error


def read_or_refused(path):
    """The record, or None where it is refused in one line, by all readers."""
    found = None
    for reader in (load_any, load, load_frontier):
        try:
            found = found or reader(path)
        except RecordError as error:
            told = str(error)
            assert told.isprintable() and len(told) < LONGEST, ascii(told[:LONGEST])
    return found


def survives(record):
    """The record goes through all that is done with one."""
    text = record.model_dump_json()
    assert type(record).model_validate_json(text) == record
    shown = json_of(record)
    printed(shown)
    assert json.loads(shown) == json.loads(text)
    if isinstance(record, Record):
        summarise(record)
        record.missing()
        judge(record)
    elif record.kind == "frontier":
        settle(record)
        printed(frontier_markdown(record))
        printed(_shown(lambda console: print_frontier(record, console)))
        return
    document = document_of(record)
    printed(markdown.render(document))
    printed(_shown(lambda console: print_document(document, console)))


def printed(text):
    """Nothing in it is obeyed by a terminal."""
    odd = [line for line in text.split("\n") if not line.isprintable()]
    assert not odd, [ascii(line[:LONGEST]) for line in odd]


def _shown(show):
    file = io.StringIO()
    show(Console(file=file, width=100, highlight=False))
    return file.getvalue()
