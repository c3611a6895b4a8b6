"""Values in a command: where they stand, the search for the largest, and the growth."""

import itertools
import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from script_runs import ROOM, estimated, out_of_memory, ran

from ffprof.cli.output.script import (
    EXIT_CODES,
    NOT_COVERED,
    NOT_DECIDED,
    exit_code_of_growth,
    exit_code_of_largest,
)
from ffprof.errors import FfprofError, UsageError
from ffprof.experiments.script import growth, largest
from ffprof.experiments.script.growth import find_growth
from ffprof.experiments.script.largest import MOST_RUNS, STRIDE, Search, find_largest, tried_of
from ffprof.experiments.script.placeholder import START, template_of
from ffprof.experiments.script.question import ScriptQuestion, check_values
from ffprof.experiments.script.request import ScriptRequest
from ffprof.nulldevice import DeviceReport
from ffprof.nulldevice.script.report import Place, Problem, RanOut
from ffprof.report.estimate.script_values import growth_document, largest_document
from ffprof.units import GIB, MIB


@pytest.mark.parametrize(
    ("name", "command", "made", "start"),
    [
        ("--batch-size", "python t.py --batch-size {}", "python t.py --batch-size 5", START),
        ("--batch-size", "python t.py --batch-size={}", "python t.py --batch-size=5", START),
        ("batch", "python t.py data.batch={} n={}", "python t.py data.batch=5 n=5", START),
        ("batch", "sh -c {};echo", "sh -c 5;echo", START),
        # A number where the option is named is the value, and the one to begin with.
        ("--batch-size", "python t.py --batch-size 64 -x 64", "python t.py --batch-size 5 -x 64",
         64),
        ("--batch-size", "python t.py --batch-size=64", "python t.py --batch-size=5", 64),
        ("batch-size", "python t.py --batch-size 64", "python t.py --batch-size 5", 64),
        ("data.batch", "python t.py data.batch=16", "python t.py data.batch=5", 16),
        ("-b", "python t.py -b 64 --bb 3", "python t.py -b 5 --bb 3", 64),
        # Braces come first.
        ("--batch-size", "python t.py --batch-size 64 -n {}", "python t.py --batch-size 64 -n 5",
         START),
    ],
)  # fmt: skip
def test_where_a_value_stands(name, command, made, start):
    template = template_of("--largest", name, tuple(command.split(" ")))
    assert template.start == start
    assert template.command(5) == tuple(made.split(" "))


@pytest.mark.parametrize(
    ("name", "command", "said"),
    [
        ("--batch-size", "python t.py", "there is no {} in the command; write {} where the value "
         "stands: -- python train.py --batch-size {}"),
        ("data.batch", "python t.py", "-- python train.py data.batch={}"),
        ("--batch-size", "python t.py --batch-size {n}", "there is no {} in the command"),
        ("--batch-size", "python t.py --batch-size many", "there is no {}"),
        ("--batch-size", "python t.py --batch-size 0", "there is no {}"),
        ("--batch-size", "python t.py --batch-size 2.5", "there is no {}"),
        ("--batch-size", "python t.py --batch-size ٣", "there is no {}"),
        ("--batch-size", "python t.py --batch-size", "there is no {}"),
        ("-b", "python t.py -b 4 -b 8", "there are 2 numbers of -b in the command, and no {}"),
    ],
)  # fmt: skip
def test_a_command_without_a_place_is_told_how_to_write_it(name, command, said):
    with pytest.raises(UsageError) as error:
        template_of("--largest", name, tuple(command.split(" ")))
    assert str(error.value).startswith(f"--largest {name}: ")
    assert said in str(error.value)


COMMAND = ("python", "t.py", "{}")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"largest": "b", "sweep": "b=1,2"}, "--largest and --sweep cannot be combined"),
        ({"largest": "b", "snapshot": "x"}, "--largest and --snapshot cannot be combined"),
        ({"unit": 8}, "--multiple-of is about --largest"),
        ({"largest": "b", "unit": 0}, "--multiple-of 0 is no size"),
        ({"plot": "x.png"}, "--plot draws a --sweep"),
        ({"largest": "b", "plot": "x.png"}, "--plot draws a --sweep"),
        ({"sweep": "b=1,2", "plot": "x.doc"}, "unknown format"),
        ({"sweep": "b=1,2", "plot": "no/such/x.png"}, "cannot be written"),
        ({"sweep": "b"}, "--sweep 'b' has no values"),
        ({"sweep": "=1,2"}, "'' is no name"),
        ({"sweep": "b=1"}, "has 1 values"),
        ({"sweep": "b=1,x"}, "not whole numbers"),
        ({"sweep": "b=0,1"}, "values are 1 to 65,536"),
        ({"largest": " "}, "' ' is no name"),
        ({"largest": "a\nb"}, "is no name"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {name: tmp_path / asked[name] for name in ("plot", "snapshot") if name in asked}
    with pytest.raises(FfprofError) as error:
        check_values(ScriptQuestion(**asked | paths), COMMAND)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_asked_over_values():
    assert check_values(ScriptQuestion(), COMMAND) is None  # braces are then the command's own
    found = check_values(ScriptQuestion(sweep="--a=b=8,2,8"), COMMAND)
    assert (found.name, found.swept) == ("--a=b", (2, 8))
    found = check_values(ScriptQuestion(largest="--batch-size"), COMMAND)
    assert (found.name, found.swept, found.template.words) == ("--batch-size", (), COMMAND)


LEAST = ROOM.least


class Card:
    """Takes ``fixed`` bytes and ``each`` a value; fits up to ``edge``, if given, by freeing cache.

    ``held``: values that fail by themselves. It stops growing at ``most``.
    """

    def __init__(self, fixed, each, *, edge=None, failing=lambda n: False, most=10**9):
        self.fixed, self.each, self.edge, self.failing, self.most = fixed, each, edge, failing, most
        self.asked, self.runs = [], 0

    def __call__(self, value):
        assert value not in self.asked
        self.asked.append(value)
        reserved = int(self.fixed + self.each * min(value, self.most))
        fits = reserved <= LEAST if self.edge is None else value <= self.edge
        if self.failing(value):
            problem = Problem(kind="ValueError", message="odd", place=Place(file="/x.py", line=2))
            run = ran(status=1, finished=False, steps=0, problem=problem)
            found = estimated(run, "failed")
        elif fits and reserved <= LEAST:
            found = estimated(ran(reserved))
        elif fits:
            found = estimated(ran(reserved), "fits", ran(LEAST, retries=3))
        elif reserved <= ROOM.most:
            second = out_of_memory(GIB, LEAST)
            found = estimated(ran(reserved), "too close to call", second)
        else:
            found = estimated(out_of_memory(GIB, ROOM.most), "out of memory")
        self.runs += found.runs
        return found


def searched(card, start=START, unit=1, **more):
    search = Search(card, least=LEAST, unit=unit, **more)
    search.run(start)
    assert search.runs == card.runs
    return search


@settings(deadline=None, max_examples=60)
@given(
    edge=st.integers(1, 3000),
    fixed=st.floats(0, 0.6),
    start=st.integers(1, 4000),
)
def test_on_a_line_the_border_is_exact_and_runs_are_few(edge, fixed, start):
    each = (LEAST - fixed * LEAST) / (edge + 0.5)
    card = Card(fixed * LEAST, each)
    search = searched(card, start)
    assert (search.low, search.high, search.proven, search.message) == (edge, edge + 1, True, "")
    assert {edge, edge + 1} <= set(card.asked)
    down = math.log2(max(1, start / edge)) + 1  # while it runs out of memory
    assert len(card.asked) <= 12 + down  # 10.1 at most in 1,500 random ones


def test_few_runs_where_it_is_usual():
    card = Card(652 * MIB, 51 * MIB)
    search = searched(card)
    assert search.proven
    assert (search.low, search.runs) == (int((LEAST - 652 * MIB) / (51 * MIB)), search.runs)
    assert search.runs <= 7


@settings(deadline=None, max_examples=60)
@given(border=st.integers(3, 4000), further=st.floats(0, 0.45))
def test_where_the_cache_is_freed_the_border_is_beyond_the_line(border, further):
    """Up to where what is allocated, half of what is reserved here, would be all that there is."""
    edge = int(border * (1 + further))
    card = Card(0, LEAST / (border + 0.5), edge=edge)
    search = searched(card)
    assert (search.low, search.proven) == (edge, True)


def test_not_even_one_fits():
    search = searched(Card(2 * ROOM.most, MIB))
    assert (search.low, search.high, search.proven) == (0, 1, False)
    assert search.message == "not even 1 fits"
    search = searched(Card(2 * ROOM.most, MIB), unit=8)
    assert search.message == "not even 8 fits"


def test_a_script_that_fails_at_once_is_not_run_again():
    card = Card(GIB, MIB, failing=lambda n: True)
    search = searched(card)
    assert (card.asked, search.low, search.proven) == ([START], 0, False)
    assert search.message == "8 failed by itself (ValueError: odd)"


def test_one_that_fails_beyond_a_value_is_no_border_of_memory():
    card = Card(GIB, MIB, failing=lambda n: n > 1024)  # as positions that are a table
    search = searched(card)
    assert (search.low, search.high, search.proven) == (1024, 1025, False)
    assert search.message.startswith(
        "1,025 failed by itself (ValueError: odd), so this is no border of memory; if it takes"
    )


@pytest.mark.parametrize("unit", [1, 8])
def test_holes_are_told_and_multiples_may_be_asked_for(unit):
    card = Card(GIB, 12 * MIB, failing=lambda n: n % 8)
    search = searched(card, unit=unit)
    if unit == 1:
        assert not search.proven
        assert search.low and not search.low % 8
        assert "--multiple-of says of what" in search.message
    else:
        edge = int((LEAST - GIB) / (12 * MIB)) // 8
        assert (search.low, search.proven) == (edge, True)
        assert not any(value % 8 for value in card.asked)


def test_a_script_that_goes_on_with_less_does_not_fit():
    class Shrinks(Card):
        def __call__(self, value):
            found = super().__call__(value)
            if found.status == "fits":
                return found
            return estimated(ran(LEAST // 2)).model_copy(
                update={"went_on": True, "runs": found.runs}
            )

    search = searched(Shrinks(0, LEAST / 100.5), start=8)
    assert (search.low, search.high, search.proven) == (100, 101, True)
    tried = tried_of(101, search.found[101])
    assert tried.status == "out of memory" and "went on with less" in tried.message
    assert tried.reserved_peak_bytes is None


def test_that_it_went_on_is_seen_in_a_run():
    out = RanOut(device=0, asked=GIB, allocated=GIB, reserved=GIB, count=1, place=Place())
    assert estimated(ran(ran_out=out)).went_on and not estimated(ran()).went_on


def test_values_that_change_nothing_are_not_driven_up():
    search = searched(Card(GIB, 0))
    assert not search.proven
    assert max(search.found) <= STRIDE * START
    assert search.message.startswith("memory is the same at 8 and ")
    # Nor from where it does not grow any more.
    card = Card(GIB, MIB, most=600)
    search = searched(card)
    assert not search.proven and search.low >= 600
    assert "memory is the same at" in search.message
    assert max(card.asked) <= STRIDE**2 * START


def test_nothing_grows_by_more_than_a_stride_at_once():
    card = Card(MIB, 1)
    search = searched(card)
    fitting = sorted(card.asked)
    assert all(b <= STRIDE * a for a, b in itertools.pairwise(fitting))
    assert (search.low, search.proven) == (65_536, False)
    assert search.message == "65,536 fits, and larger ones were not tried"


def test_runs_are_bounded_and_what_is_between_is_told():
    card = Card(0, LEAST / 20_000, edge=26_000)
    search = searched(card, most_runs=12)
    assert 12 <= search.runs <= 13
    assert not search.proven
    assert search.low <= 26_000 < search.high
    assert search.message.startswith(f"{search.runs} runs were made, which is the limit")
    assert f"between {search.low:,} and {search.high:,} nothing is known" in search.message
    assert MOST_RUNS >= 12


def over(monkeypatch, card, asked, unit=1):
    """What the command line would make of it, with a fake in place of runs."""
    request = ScriptRequest(command=("python", "t.py", "{}"), gpu_mem="8GB")

    def run_on(request, target, say=None):
        value = int(request.command[-1])
        if request.capacity is not None:
            return estimated(ran(int(card.fixed + card.each * value)))
        return card(value)

    target = SimpleNamespace(
        room=ROOM, card=None, device=SimpleNamespace(name="a GPU"), notes=("a note",)
    )
    for module in (largest, growth):
        monkeypatch.setattr(module, "run_on", run_on)
        monkeypatch.setattr(module, "target_of", lambda request: target)
    said = []
    values = check_values(ScriptQuestion(**asked), request.command)
    if values.swept:
        return find_growth(request, values, said.append), said
    return find_largest(request, values, unit, said.append), said


def test_the_record_and_the_report_of_a_search(monkeypatch):
    found, said = over(monkeypatch, Card(GIB, 100 * MIB), {"largest": "--batch-size"})
    edge = (LEAST - GIB) // (100 * MIB)
    assert (found.largest, found.first_failing, found.proven) == (edge, edge + 1, True)
    assert (found.grown, found.command) == ("--batch-size", ("python", "t.py", "{}"))
    assert found.runs == sum(one.runs for one in found.tried)
    assert [one.value for one in found.tried] == sorted(one.value for one in found.tried)
    at = {one.value: one for one in found.tried}
    assert at[edge].reserved_peak_bytes == GIB + edge * 100 * MIB
    assert found.at_largest.reserved_peak_bytes == GIB + edge * 100 * MIB
    assert at[edge + 1].status == "too close to call"
    assert exit_code_of_largest(found, strict=False) == 0
    assert said[0] == "--batch-size 8: running"
    assert said[1] == "--batch-size 8: fits, 1.78 GiB reserved (2 s)"
    document = largest_document(found, 80)
    (answer,) = document.blocks[0].text
    assert answer.startswith(f"Largest --batch-size that fits a GPU: {edge} (")
    assert answer.endswith(f"reserved; {edge + 1} is too close to call).")
    assert document.title == "Largest --batch-size of python t.py {}, emulated"
    assert document.blocks[-1].command == f"python t.py {edge}"
    assert len(document.blocks[1].rows) == len(found.tried)


def test_exit_codes_of_a_search(monkeypatch):
    def code(card, **asked):
        found, _ = over(monkeypatch, card, {"largest": "b"})
        return exit_code_of_largest(found, strict=asked.get("strict", False))

    assert code(Card(2 * ROOM.most, MIB)) == EXIT_CODES["out of memory"]
    assert code(Card(LEAST + MIB, 1)) == EXIT_CODES["too close to call"]
    assert code(Card(GIB, MIB, failing=lambda n: True)) == EXIT_CODES["failed"]
    assert code(Card(GIB, MIB, failing=lambda n: n > 100)) == EXIT_CODES["failed"]
    assert code(Card(GIB, 0)) == NOT_DECIDED


def test_the_report_of_what_is_not_proven(monkeypatch):
    card = Card(GIB, MIB, failing=lambda n: n > 100)
    document = largest_document(over(monkeypatch, card, {"largest": "b"})[0], 80)
    (answer,) = document.blocks[0].text
    assert answer.startswith(
        "Largest b that fits a GPU, of those tried: 100 (1.10 GiB reserved). 101 failed by itself"
    )
    why = next(block for block in document.blocks if block.heading == "Why not")
    assert why.lines == ("101: ValueError: odd, at /x.py:2",)
    document = largest_document(over(monkeypatch, Card(9 * GIB, 1), {"largest": "b"})[0], 80)
    assert document.blocks[0].text == ("No b is known to fit a GPU: not even 1 fits.",)


def test_strict_is_about_every_value(monkeypatch, capfd):
    class Assuming(Card):
        def __call__(self, value):
            found = super().__call__(value)
            device = DeviceReport(launches={"k": 3}, assumed={"cudnnGetRNNTempSpaceSizes": 1})
            run = ran()
            run = type(run)(**{**vars(run), "device": device})
            return found.model_copy(update={"coverage": estimated(run).coverage})

    found, _ = over(monkeypatch, Assuming(GIB, 100 * MIB), {"largest": "b"})
    assert exit_code_of_largest(found, strict=False) == 0
    assert exit_code_of_largest(found, strict=True) == NOT_COVERED
    assert "75.00 % of all calls" in capfd.readouterr().err


def test_growth_has_peaks_also_where_memory_was_short(monkeypatch):
    card = Card(0, 512 * MIB, failing=lambda n: n == 3)
    found, said = over(monkeypatch, card, {"sweep": "--b=2,3,4,8,32"})
    assert [one.status for one in found.rows] == [
        "fits", "failed", "fits", "fits", "out of memory",
    ]  # fmt: skip
    assert [one.reserved_peak_bytes for one in found.rows] == [
        GIB, None, 2 * GIB, 4 * GIB, 16 * GIB,
    ]  # fmt: skip
    assert found.reserved_exponent == pytest.approx(1)
    assert found.rows[-1].runs == 2
    assert any("without a limit" in line for line in said)
    assert exit_code_of_growth(found, strict=False) == 0
    document = growth_document(found, 80)
    assert document.title == "Memory over --b of python t.py {}, emulated"
    rows = document.blocks[0].rows
    assert rows[-1][:4] == ("32", "out of memory", "8.00 GiB", "16.0 GiB")
    assert rows[1][:4] == ("3", "failed", "-", "-")
    (text,) = document.blocks[1].text
    assert text.startswith("From 2 to 32, allocated grows to 16.0x, by the power 1.00 of --b")
    assert document.blocks[2].lines[0] == "3: ValueError: odd, at /x.py:2"
    found, _ = over(monkeypatch, Card(0, 1, failing=bool), {"sweep": "--b=2,3"})
    assert exit_code_of_growth(found, strict=False) == EXIT_CODES["failed"]
    assert "fewer than two values" in growth_document(found, 80).blocks[1].text[0]
