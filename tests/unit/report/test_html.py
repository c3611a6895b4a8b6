"""Reports as HTML: the same text as in Markdown, and nothing in a record is markup."""

import re
from html import unescape
from html.parser import HTMLParser

import calibrations
import frontiers
import gated
import pytest
from records import record, trial

from ffprof.analysis.comparison import compare_records
from ffprof.report.comparison import comparison_document
from ffprof.report.document import Block, Column, Document
from ffprof.report.exporters.html import render
from ffprof.report.kinds import document_of

TAGS = {
    "div",
    "strong",
    "h3",
    "h4",
    "p",
    "small",
    "ul",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
HOSTILE = '<script>alert(\'x\')</script> & " onmouseover="y" </td></table>\x1b[31m'


class Checked(HTMLParser):
    """Fails where tags do not close in order, or any is not of this report."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS
        assert all(key == "style" and re.fullmatch("text-align: \\w+", v) for key, v in attrs)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        self.rows[-1:] = [n + (tag in ("td", "th")) for n in self.rows[-1:]]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def made():
    audit = gated.cpu(5, noise=0.05)
    yield document_of(audit)
    yield document_of(frontiers.frontier())
    yield document_of(frontiers.frontier("frontier"))
    yield document_of(calibrations.calibrated(calibrations.noisy_audit()))
    yield comparison_document(compare_records(audit, audit), ("a", "b"), ())


@pytest.mark.parametrize("document", [*made()], ids=lambda one: one.title)
def test_every_kind_of_report_is_whole_and_says_all(document):
    text = render(document)
    Checked(text)
    plain = unescape(text)
    said = [document.title, *document.setting]
    for block in document.blocks:
        said += [block.heading, *block.text, *block.lines, block.caption]
        said += [column.name for column in block.columns]
        said += [cell for row in block.rows for cell in row]
    assert all(one in plain for one in said)


def test_rows_have_as_many_cells_as_the_head():
    parsed = Checked(render(document_of(gated.cpu(1))))
    assert len(parsed.rows) == 1 + len(gated.ROWS)
    assert len(set(parsed.rows)) == 1


def test_what_a_record_holds_is_text_and_never_markup():
    text = render(document_of(record([trial(HOSTILE, 0, outcome="crashed", message=HOSTILE)])))
    Checked(text)
    assert "<script" not in text and "\x1b" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in text


def test_every_part_of_a_document_is_escaped():
    column = Column(name=HOSTILE)
    block = Block(
        heading=HOSTILE, text=(HOSTILE,), columns=(column,), rows=((HOSTILE,),), lines=(HOSTILE,),
        caption=HOSTILE,
    )  # fmt: skip
    text = render(Document(title=HOSTILE, setting=(HOSTILE,), blocks=(block,)))
    Checked(text)
    assert text.count("&lt;script&gt;") == 8


def test_figures_stand_to_the_right():
    columns = (Column(name="name", numeric=False), Column(name="figure"))
    block = Block(columns=columns, rows=(("a", "1"),))
    text = render(Document(title="t", setting=(), blocks=(block,)))
    assert '<td style="text-align: left">a</td><td style="text-align: right">1</td>' in text
