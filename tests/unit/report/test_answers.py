"""What a report ends with: in five lines what an audit comes to."""

import io
import re

import pytest
from records import MIB, claim, record, trial
from rich.console import Console

from ffprof.records.audit import LedgerRow
from ffprof.records.recipe import FAMILY
from ffprof.report.audit import make_document
from ffprof.report.document import Block, Column, Document
from ffprof.report.exporters.terminal import OutputConsole, print_document, print_end


def printed(document, width=80, **more):
    console = OutputConsole()
    console.file, console.width = io.StringIO(), width
    print_document(document, console, **more)
    return console.file.getvalue()


def trials_of(rounds, **speeds):
    memory = {"bp": 100, "ff": 230, "tiny": 60}
    return [
        trial(
            name, r, family="bp" if name == "bp" else "ff", memory=memory[name] * MIB, speed=speed
        )
        for name, speed in speeds.items()
        for r in range(rounds)
    ]


BOTH = [claim("ff", "bp", "memory"), claim("ff", "bp", "throughput")]


def last(document, width, count=1):
    return printed(document, width).rstrip("\n").split("\n")[-count:]


@pytest.mark.parametrize(
    ("rounds", "width", "line"),
    [
        (5, 120, "ff needs 2.30 times the memory of bp, at 1.60 times its speed: not supported; "
                 "speed supported"),
        (5, 84, "ff needs 2.30x the memory of bp at 1.60x its speed: not supported; speed "
                "supported"),
        (5, 70, "ff vs bp: memory 2.30x not supported, speed 1.60x supported"),
        (3, 70, "ff vs bp: memory 2.30x not supported, speed 1.60x no verdict"),
    ],
)  # fmt: skip
def test_a_pair_is_one_line_at_any_width(rounds, width, line):
    made = record(trials_of(rounds, bp=100, ff=160), claims=BOTH)
    assert last(make_document(made), width) == [line]


def test_an_estimate_says_that_it_is_one_and_gives_no_verdict_on_speed():
    trials = [
        one.model_copy(update={"evidence": "estimated"}) for one in trials_of(1, bp=100, ff=160)
    ]
    document = make_document(record(trials, claims=BOTH, evidence="estimated"))
    long = "ff needs about 2.30 times the memory of bp, at about 1.60 times its speed"
    assert last(document, 120) == [f"{long}: not supported (estimated)"]
    assert last(document, 79) == [
        "ff needs ~2.30x the memory of bp at ~1.60x its speed: not supported"
    ]
    assert last(document, 60) == ["ff vs bp: memory ~2.30x not supported, speed ~1.60x"]


def test_memory_comes_first_and_what_has_no_verdict_last():
    trials = [*trials_of(5, bp=100, ff=80), *trials_of(5, tiny=300)]
    claims = [
        claim("ff", "tiny", "throughput"),
        claim("ff", "gone", "memory"),
        claim("tiny", "bp", "memory"),
        claim("ff", "bp", "memory"),
    ]
    trials.append(trial("gone", 0, outcome="crashed", message="killed"))
    told = [one[-1] for one in make_document(record(trials, claims=claims)).answers]
    assert told == [
        "not finished: 4 of 20 trials are missing",
        "tiny vs bp: memory 0.60x supported",
        "ff vs bp: memory 2.30x not supported",
        "ff vs tiny: speed 0.27x not supported",
        "ff vs gone: no verdict on memory",
    ]


def test_what_fits_where_the_other_does_not_is_told_as_it_is_judged():
    trials = trials_of(3, ff=80)
    trials += [trial("bp", r, outcome="oom", message="no memory", family="bp") for r in range(3)]
    made = record(trials, claims=[claim("ff", "bp", "memory")])
    assert last(make_document(made), 100) == ["ff fits where bp does not: memory supported"]
    assert last(make_document(made), 40) == ["ff fits, bp does not: supported"]


def test_the_best_rows_of_a_family_may_be_two_and_both_verdicts_are_told():
    trials = [*trials_of(5, bp=100, ff=160), *trials_of(5, tiny=300)]
    trials = [t.model_copy(update={"family": "ff" if t.workload == "ff" else "bp"}) for t in trials]
    claims = [claim("ff", f"{FAMILY}bp", "memory"), claim("ff", f"{FAMILY}bp", "throughput")]
    document = make_document(record(trials, claims=claims))
    assert last(document, 140) == [
        "ff needs 3.83 times the memory of tiny, at 0.53 times its speed: not supported; "
        "speed not supported"
    ]
    slow = [t for t in trials if t.workload != "tiny"] + trials_of(5, tiny=50)
    slow = [t.model_copy(update={"family": "ff" if t.workload == "ff" else "bp"}) for t in slow]
    document = make_document(record(slow, claims=claims))
    assert last(document, 140) == [
        "ff needs 3.83 times the memory of tiny: not supported; it runs at 1.60 times the speed of "
        "bp: supported"
    ]
    assert last(document, 80) == ["ff: memory 3.83x tiny not supported, speed 1.60x bp supported"]


def test_what_contradicts_itself_has_no_other_answer():
    document = Document(
        title="t", setting=(), blocks=(), answers=(("fine",),), alarms=("IT CONTRADICTS", "why"),
        closing=("details: y",),
    )  # fmt: skip
    text = printed(document)
    assert text.endswith("\n\nIT CONTRADICTS\ndetails: y\n") and "fine" not in text


@pytest.mark.parametrize(
    ("note", "seen"),
    [
        ("measured on a CPU: the peak of live tensors is what the method holds", False),
        ("half: from half.py, sha256 c9f0be5adc41", False),
        ("resumed 2026-01-02 03:04 UTC with 1 of 4 trials done", False),
        ("--gpu-mem 8GB has no effect here", True),
        ("this machine is busy: python (3) took 1.2 of 2 CPUs", True),
        ("on a null device: kernels do nothing, so speeds mean nothing", True),
        ("when it was resumed, this file contradicted itself: it was changed", True),
    ],
)
def test_notes_that_a_figure_depends_on_are_in_sight(note, seen):
    made = record(trials_of(3, bp=100)).model_copy(update={"notes": (note,)})
    assert (note in " ".join(printed(make_document(made), 200, full=False).split())) == seen
    assert note in printed(make_document(made), 200)


def test_a_row_that_nothing_is_matched_of_is_in_sight():
    made = record(trials_of(3, bp=100, ff=50))
    facts = {"matched": "nothing: the step is the user's own"}
    made = made.model_copy(update={"ledger": {"ff": LedgerRow(facts=facts)}})
    assert "ff: nothing of the recipe is matched" in printed(make_document(made), 200, full=False)


def test_without_claims_the_smallest_and_the_fastest_row_are_named():
    assert last(make_document(record(trials_of(3, bp=100, tiny=50))), 80, 2) == [
        "smallest: tiny, 60.0 MiB, 50.0 img/s",
        "fastest: bp, 100 MiB, 100 img/s",
    ]
    assert last(make_document(record(trials_of(3, bp=100))), 80) == ["bp: 100 MiB, 100 img/s"]
    nothing = record([trial("a", 0, outcome="crashed", message="killed")])
    assert make_document(nothing).answers == ()


ANSWERS = tuple((f"a long answer on row number {n} of them", f"short {n}") for n in range(9))


@pytest.mark.parametrize("closing", [(), ("details: y",)])
@pytest.mark.parametrize("width", [20, 24, 80])
def test_the_end_takes_five_lines_at_most(closing, width):
    document = Document(title="t", setting=(), blocks=(), answers=ANSWERS, closing=closing)
    lines = printed(document, width).split("\n\n")[-1].rstrip("\n").split("\n")
    assert len(lines) == 4 + len(closing)
    assert tuple(lines[4:]) == closing
    first = "a long answer on row number 0 of them" if width == 80 else "short 0"
    assert lines[0] == first
    assert lines[3] == "and 6 more (--full)"


def test_an_answer_too_long_for_any_width_is_cut():
    words = " ".join(["word"] * 60)
    document = Document(title="t", setting=(), blocks=(), answers=((words,), ("other",)))
    *_, first, second, third, fourth = printed(document, 40).rstrip("\n").split("\n")
    assert first == second == " ".join(["word"] * 8)
    assert (third, fourth) == ("...", "other")


def test_the_end_alone_has_the_title():
    stream = io.StringIO()
    document = Document(title="T", setting=("s",), blocks=(), answers=(("a",),), closing=("c",))
    print_end(document, Console(file=stream, width=80))
    assert stream.getvalue() == "T\na\nc\n"


def test_details_are_left_out_on_request():
    block = Block(heading="Notes", lines=("a note",), detail=True)
    document = Document(title="t", setting=(), blocks=(block,))
    assert "a note" in printed(document)
    assert "a note" not in printed(document, full=False)


def test_a_split_table_goes_on_below_with_its_first_column():
    columns = [Column(name="row", numeric=False)]
    columns += [Column(name=f"fact {n} of many", folded=True) for n in range(6)]
    rows = (("one", *"123456"), ("two", *"abcdef"))
    block = Block(columns=tuple(columns), rows=rows, split=True)
    document = Document(title="t", setting=(), blocks=(block,))
    text = printed(document, 24)
    assert max(map(len, text.split("\n"))) <= 24
    lines = [line.split() for line in text.split("\n")]
    found = [line[1:] for line in lines if line[:1] == ["one"]]
    assert len(found) > 1
    assert [cell for line in found for cell in line] == list("123456")
    assert [cell for line in lines if line[:1] == ["two"] for cell in line[1:]] == list("abcdef")
    assert printed(document, 120).count("one") == 1


def test_a_folded_column_may_have_no_name():
    columns = (Column(name="row", numeric=False), Column(name="", folded=True))
    for cell in ("1", ""):
        block = Block(columns=columns, rows=(("one", cell),), split=True)
        text = printed(Document(title="t", setting=(), blocks=(block,)))
        assert f"one  {cell}".rstrip() in text


def test_a_caption_leaves_out_columns_that_are_not_shown():
    columns = (Column(name="a"), Column(name="b" * 20, rank=1))
    block = Block(columns=columns, rows=(("1", "2"),), caption=f"a: one; {'b' * 20}: two; all")
    document = Document(title="t", setting=(), blocks=(block,))
    assert "two" in printed(document, 40)
    assert "a: one; all" in printed(document, 20)


def test_colour_is_never_all_that_tells():
    made = record(trials_of(5, bp=100, ff=160), claims=BOTH)
    plain = printed(make_document(made))
    stream = io.StringIO()
    console = Console(file=stream, width=80, highlight=False, force_terminal=True)
    print_document(make_document(made), console)
    coloured = stream.getvalue()
    assert coloured != plain and "\x1b[31mnot supported" in coloured
    assert "\x1b[32msupported" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
