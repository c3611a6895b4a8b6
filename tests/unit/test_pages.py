"""The pages are whole: each is in one list, names files that exist, and shows pictures of today."""

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs"))

import draw_architecture
import draw_audit

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DECISIONS = (DOCS / "decisions.md").read_text()
PAGES = [*DOCS.glob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
PAGES += [ROOT / "results" / "README.md", ROOT / "benchmarks" / "README.md"]
# With a folder in front; names that are patterns, such as NAME.py, stand for files to come.
FILE = re.compile(
    r"(?<![\w./-])(?!docs/_build)((?:ffprof|workloads|hw_profiles|tests|benchmarks|docs)/[a-z0-9_/.-]*[a-z0-9_/])"
    r"(?![\w*/-])"
)


def test_every_page_is_in_one_toctree():
    lists = re.findall(
        r"```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)```", (DOCS / "index.md").read_text(), re.S
    )
    listed = " ".join(lists).split()
    assert sorted(listed) == sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_pages_name_exist(page):
    named = FILE.findall(page.read_text())
    assert len(named) > 40 or page.name != "architecture.md"
    assert not [name for name in named if not (ROOT / name).exists()]


def test_places_that_the_map_names_in_a_file_exist():
    timeline = (ROOT / "ffprof" / "harness" / "timeline.py").read_text()
    assert "class Instruments" in timeline
    assert "class Document" in (ROOT / "ffprof" / "report" / "document.py").read_text()


def without_lines(picture):
    """The picture without how many lines its packages have, and these."""
    found = [int(count.replace(",", "")) for count in re.findall(r"([\d,]+) lines", picture)]
    return re.sub(r"[\d,]+ lines", "", picture), found


def test_the_picture_of_the_packages_is_drawn_from_the_imports_of_today():
    shown, then = without_lines(draw_architecture.PICTURE.read_text())
    drawn, now = without_lines(draw_architecture.picture())
    assert shown == drawn, "run python docs/draw_architecture.py"
    # A few lines more or less need no new picture.
    for old, new in zip(then, now, strict=True):
        assert abs(old - new) <= max(200, new / 10), "run python docs/draw_architecture.py"


def test_the_picture_of_packages_has_no_arrow_up():
    known = draw_architecture.packages()
    rows = draw_architecture.layers(known)
    assert len(known) == 11
    assert all(rows[name] < rows[to] for name, one in known.items() for to in one.imports)


def test_the_picture_of_an_audit_is_what_is_printed_today():
    assert draw_audit.PICTURE.read_text() == draw_audit.picture(), "run python docs/draw_audit.py"


def test_every_decision_has_a_number_of_its_own():
    entries = re.findall(r'^- <a id="d(\d+)"></a>(\d+) · 2\d{3}-\d\d-\d\d · ', DECISIONS, re.M)
    # Numbers are handed out before they are written down, so some may be missing for a while.
    assert len({number for _, number in entries}) == len(entries) >= 135
    assert all(anchor == number for anchor, number in entries)
    assert len(re.findall(r"^- <a ", DECISIONS, re.M)) == len(entries)
