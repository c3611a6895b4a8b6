import io
import re

import pytest
from peaks import MIB, layer, row
from rich.console import Console

from ffprof.estimator.worker import Border
from ffprof.experiments.capacity.probe import proposed
from ffprof.records.estimate import Growth
from ffprof.report.capacity import estimated_capacities
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.estimate.detail import peak_details
from ffprof.report.estimate.difference import LINES, compare_peaks, difference_blocks, signed
from ffprof.report.estimate.growth import growth_document
from ffprof.report.estimate.holdings import bar
from ffprof.report.estimate.table import Heading, between, peak_document, share
from ffprof.report.exporters.terminal import print_document
from ffprof.workload import find_preset, find_workload

HEADING = Heading(
    recipe=find_preset("smoke").recipe,
    requested="8GB",
    card="GeForce RTX 4060",
    total_bytes=8000 * MIB,
    overhead_bytes=(400 * MIB, 700 * MIB, 1300 * MIB),
    overhead_measured=False,
    workspaces=True,
    torch="2.14.1",
)


def printed(document, width=80):
    if not isinstance(document, Document):
        document = printable(Document(title="", setting=(), blocks=document))
    stream = io.StringIO()
    print_document(document, Console(file=stream, width=width, highlight=False))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def test_80_columns_hold_what_decides_and_140_hold_everything():
    rows = [
        row("dtg-ff-streamed-accum", answer="too close to call"),
        row("mine", answer="does not fit", outcome="oom", message="estimated to run out of memory"),
        row("other", outcome="refused", message="it reads the value of a tensor"),
    ]
    narrow, wide = (printed(peak_document(HEADING, rows), width) for width in (80, 160))
    for word in ("too close to call", "does not fit", "refused", "101 MiB", "151 MiB", "123"):
        assert word in narrow and word in wide
    assert " - mine: estimated to run out" in narrow
    assert " - other: it reads the value of a tensor" in narrow
    header = next(line for line in wide.splitlines() if line.startswith("workload"))
    for name in ("micro", "gap", "retries", "process", "expandable", "start-up", "img/s band"):
        assert name in header
    assert "process" not in next(x for x in narrow.splitlines() if x.startswith("workload"))
    assert "400 MiB to 1.27 GiB, likely 700 MiB" in " ".join(narrow.split())


def test_columns_go_by_rank_and_empty_ones_go_first():
    columns = (Column(name="a"), Column(name="wide", rank=2), Column(name="b", rank=1))
    tight = printed((Block(columns=columns, rows=(("x", "y" * 30, "1"),)),), 12)
    assert tight.split() == ["a", "b", "x", "1"]
    empty = printed((Block(columns=columns, rows=(("x", "y", "-"),)),), 12)
    assert empty.split() == ["a", "wide", "x", "y"]


def test_tables_with_the_same_columns_stand_in_line():
    columns = (Column(name="a"), Column(name="b", rank=1))
    first, second = (
        Block(columns=columns, rows=(("x", "1"),)),
        Block(columns=columns, rows=(("longer", "-"),)),
    )
    lines = printed((first, second)).splitlines()
    assert [line.rstrip() for line in lines if line.strip()] == [
        "     a  b", "     x  1", "     a  b", "longer  -",
    ]  # fmt: skip


def test_the_details_roll_modules_up_and_name_what_runs_outside_of_them():
    layers = [layer(f"blocks.{n}", activation=n + 1, parameter=1) for n in range(17)]
    layers.append(layer("(outside modules)", "aten.native_layer_norm", temporary=70))
    text = printed(peak_details(row(layers=layers), 80))
    assert "Peaks at 241 MiB allocated in backward of blocks.3 (relu)." in text
    shown = text[text.index("By module") : text.index("Largest single")]
    # More blocks than rows, none like another: what holds 17 + ... + 1 + 17 MiB is one row.
    assert re.search(r"170 MiB +71% +blocks +activation 90%", shown)
    assert re.search(r"70.0 MiB +29% +outside modules +temporary", shown)
    assert "(most by native_layer_norm 70.0 MiB)" in " ".join(shown.split())
    assert text.index("when most is allocated") < text.index("when most is reserved")
    assert "With expandable_segments, 244 MiB would be reserved: 47.0 MiB less." in text
    assert "nothing: cached" in text


def test_a_difference_lists_both_sides_and_sums_to_the_difference_of_the_peaks():
    ours = row("ours", [layer("a", activation=10), layer("b", activation=5, gradient=1)])
    theirs = row("theirs", [layer("a", activation=2), layer("c", workspace=3), layer("b")])
    made = compare_peaks(ours, theirs)
    assert [(d.module, d.category, d.more_bytes // MIB) for d in made.differences] == [
        ("a", "activation", 8),
        ("c", "workspace", -3),
        ("b", "activation", 5),
        ("b", "gradient", 1),
    ]
    total = sum(d.more_bytes for d in made.differences)
    assert total == ours.peak.allocated_bytes - theirs.peak.allocated_bytes
    text = printed(difference_blocks(made, 80))
    assert "ours holds 14.0 MiB that theirs does not" in text
    assert "+8.00 MiB" in text and "-3.00 MiB" in text


def test_a_long_difference_is_cut_and_the_rest_is_summed():
    ours = row("ours", [layer(f"blocks.{n}", activation=n + 1) for n in range(LINES + 3)])
    text = printed(difference_blocks(compare_peaks(ours, row(layers=[layer("x")])), 80))
    assert "and 3 more, +6.00 MiB together" in text


def largest(n, unit=1, following=None, cap=100_000):
    some = find_workload("bp")
    rows = {n: row(batch=n * unit)} if n else {}
    if n < cap:
        rows[n + 1] = following or row(answer="does not fit")
    return proposed(some, "batch", Border(n=n, cap=cap, unit=unit, rows=rows))


@pytest.mark.parametrize(
    "found,told",
    [
        (largest(68), "69  does not fit"),
        (largest(6, unit=16), "112  does not fit"),
        (largest(0, unit=16), "bp: not even 16 fits"),
        (largest(65_536, cap=65_536), "bp: 65,536 fits, and larger ones were not tried"),
        (
            largest(0, following=row(outcome="refused", message="no fake form", memory=None)),
            "bp: no fake form",
        ),
    ],
)
def test_the_largest_size_is_told_with_the_next(found, told):
    assert told in printed(estimated_capacities(HEADING, [found]))


@pytest.mark.parametrize("values", [(8, 16, 32, 64, 128), (1, 2, 3, 4, 5, 6, 7)])
def test_five_values_fit_80_columns_and_more_are_wrapped(values):
    rows = tuple(row() for _ in values)
    one = Growth(
        workload="dtg-ff-streamed-accum", axis="batch", values=values, rows=rows,
        allocated_exponent=0.97, reserved_exponent=-0.001, activations_exponent=None,
    )  # fmt: skip
    text = printed(growth_document(HEADING, [one], 80))
    for value in values:
        assert re.search(rf" {value}\s", text)
    lines = [line for line in text.splitlines() if line.startswith("dtg-ff")]
    last = [line.removesuffix("1.00x").split()[-1] for line in map(str.rstrip, lines)]
    powers = [word for word in last if word != "MiB"]
    assert powers == ["-", "0.97", "0.00"]


def test_what_is_small_is_still_seen():
    assert bar(1, 10) == "█" * 10 and bar(1e-9, 10) == "▏" and bar(0, 10) == ""
    assert share(1, 10_000) == "<1%" and share(0, 0) == "-" and share(1, 3) == "33%"
    assert between((MIB, 2 * MIB)) == "1.00 to 2.00 MiB"
    assert between((MIB, 2048 * MIB)) == "1.00 MiB to 2.00 GiB"
    assert signed(0) == "0 B" and signed(-MIB) == "-1.00 MiB"


def test_what_a_terminal_might_obey_is_not_printed():
    name = "a\x1b[31m"
    text = printed(peak_details(row(name, [layer(name, activation=1)]), 80))
    assert "\x1b" not in text
