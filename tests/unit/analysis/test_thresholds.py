"""The file of thresholds: what it may say, what it comes to, and one line for anything else."""

import math
import time
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.analysis.gates.thresholds import (
    MAX_BYTES,
    Thresholds,
    parse_thresholds,
    read_thresholds,
    with_budget,
)
from ffprof.errors import UsageError
from ffprof.units import GIB, KIB, MIB

WHOLE = b"""
[allocated]
bytes = "3MiB"
share = 0.01
[reserved]
bytes = 0
share = 0
[live]
gate = false
[flops]
share = 0.02
[operators]
share = 0.1
[throughput]
gate = true
share = 0.05
[budget]
memory = "7.5GiB"
[workloads.one.reserved]
bytes = "1GiB"
[workloads.one.throughput]
exclude = 0.2
gate = false
[workloads."a.b".budget]
memory = "2GiB"
"""


def parsed(text):
    return parse_thresholds(text.encode(), "t.toml")


def test_an_empty_file_has_the_defaults():
    found = parsed("")
    assert found == Thresholds()
    assert (found.allocated.bytes, found.allocated.share) == (2 * MIB, 0.005)
    assert (found.reserved.bytes, found.reserved.share) == (20 * MIB, 0.02)
    assert (found.live.bytes, found.live.share) == (4 * KIB, 0.005)
    assert (found.flops.share, found.operators.share) == (0.005, 0.02)
    assert (found.throughput.gate, found.throughput.share) == (True, 0.03)
    assert found.of("any").throughput.exclude == 0.10
    assert found.budget.memory is None


def test_every_field_is_read():
    found = parse_thresholds(WHOLE, "t.toml")
    assert found.allocated.bytes == 3 * MIB
    assert found.reserved.allowed(10**12) == 0
    assert not found.live.gate
    assert found.throughput.share == 0.05
    assert found.budget.memory == 7.5 * GIB
    assert set(found.workloads) == {"one", "a.b"}


def test_the_file_in_the_docs_is_the_defaults():
    docs = (Path(__file__).parents[3] / "docs/checking.md").read_text()
    text = docs.split("```toml\n")[1].split("```")[0]
    found = parsed(text)
    assert found.model_copy(update={"workloads": {}}) == Thresholds()
    mine = found.of("mine")
    assert (mine.reserved.bytes, mine.reserved.share) == (64 * MIB, 0.02)
    assert mine.budget.memory == 4 * GIB


def test_a_workload_overrides_only_what_it_writes():
    found = parse_thresholds(WHOLE, "t.toml")
    one = found.of("one")
    assert (one.reserved.bytes, one.reserved.share) == (GIB, 0)
    assert one.allocated == found.allocated
    assert (one.throughput.gate, one.throughput.share) == (False, 0.05)
    assert (one.throughput.exclude, found.of("two").throughput.exclude) == (0.2, 0.1)
    assert one.budget.memory == found.budget.memory
    assert found.of("a.b").budget.memory == 2 * GIB
    other = found.of("nobody")
    assert other.reserved.bytes == 0
    assert other.throughput.gate


@given(st.integers(0, 2**63 - 1), st.floats(0, 1), st.integers(0, 10**6))
def test_the_larger_of_bytes_and_share_is_allowed(baseline, share, kib):
    size = f'"{kib}KiB"' if kib else "0"
    rule = parsed(f"[allocated]\nshare = {share!r}\nbytes = {size}\n").allocated
    allowed = rule.allowed(baseline)
    exact = max(Fraction(kib * KIB), baseline * Fraction(repr(share)))
    assert allowed <= exact < allowed + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[allocated]\nbites = 1",
            ["allocated.bites", "no field of thresholds: did you mean bytes?"],
        ),
        ("[alocated]\nbytes = 0", ["alocated: is no field", "did you mean allocated?"]),
        ("[speed]\n", ["there are allocated, reserved, live, flops, operators, throughput"]),
        ("[flops]\nbytes = 0", ["flops.bytes: is no field of thresholds: there are gate, share"]),
        ("[workloads.x]\nlve.share = 0", ["workloads.x.lve", "did you mean live?"]),
        ("[workloads.x.live]\nshares = 0", ["workloads.x.live.shares", "did you mean share?"]),
        ("[operators]\nshare = 5", ["operators.share", "not '5'", "0.05 is 5 %"]),
        ("[throughput]\nexclude = 10", ["throughput.exclude", "0.05 is 5 %"]),
        ("[allocated]\nbytes = 2000", ["allocated.bytes", "unit"]),
        ('[allocated]\nbytes = "2MX"', ["allocated.bytes", "'2MX' is not a memory size"]),
        ('[allocated]\nbytes = "-2MiB"', ["allocated.bytes"]),
        ("[allocated]\nbytes = true", ["allocated.bytes"]),
        ("[allocated]\nbytes = 1.5", ["allocated.bytes", "unit"]),
        ('[allocated]\nbytes = "999999999999TiB"', ["allocated.bytes", "more than any memory"]),
        ('[allocated]\nbytes = "' + "1" * 5000 + '"', ["allocated.bytes", "is not a memory size"]),
        ('[allocated]\nbytes = "1MiB' + " " * 80 + 'x"', ["allocated.bytes", "memory size"]),
        ("[reserved]\nshare = 2", ["reserved.share", "less than or equal to 1", "'2'"]),
        ("[reserved]\nshare = -0.1", ["reserved.share"]),
        ("[reserved]\nshare = nan", ["reserved.share", "finite"]),
        ("[reserved]\nshare = inf", ["reserved.share", "finite"]),
        ("[reserved]\nshare = true", ["reserved.share"]),
        ('[reserved]\nshare = "2%"', ["reserved.share", "0.05 is 5 %"]),
        ("[throughput]\nshare = 0.01", ["throughput.share", "0.03"]),
        ("[throughput]\nshare = 1", ["throughput.share"]),
        ("[throughput]\nreference = [1]", ["throughput.reference", "the median of all rows"]),
        ("[throughput]\nabsolute = true", ["throughput.absolute", "of one GPU", "gate = false"]),
        ("[throughput]\ngate = 1", ["throughput.gate"]),
        ("[budget]\nmemory = 0", ["budget.memory"]),
        ("[workloads.x.throughput]\nreference = []", ["workloads.x.throughput.reference"]),
        ("[workloads.x.speed]\n", ["workloads.x.speed"]),
        ("workloads = 3", ["workloads"]),
        ("allocated = 3", ["allocated"]),
        ('[workloads.""]\n', ["workloads"]),
        ("[allocated", ["not TOML"]),
        ("a = " + "[" * 50_000, ["not TOML"]),
        ("[allocated]\nbytes = 0\nbytes = 0", ["not TOML"]),
        ("[flops]\nshare = 1" + "0" * 5000, ["not TOML"]),
    ],
)
def test_what_cannot_be_meant_names_the_field_in_one_line(text, said):
    with pytest.raises(UsageError) as refused:
        parsed(text)
    line = str(refused.value)
    assert line.startswith("t.toml")
    assert line.isprintable()
    assert len(line) < 800
    for words in said:
        assert words in line


def test_what_is_no_text_is_refused():
    with pytest.raises(UsageError, match="UTF-8"):
        parse_thresholds(b"\xff\xfe", "t.toml")
    with pytest.raises(UsageError, match="larger"):
        parse_thresholds(b"#" * (MAX_BYTES + 1), "t.toml")


@pytest.mark.parametrize("shape", ["[{}a]", "{}a = 1", "[[{}a]]", "x = {{{}a = 1}}"])
@pytest.mark.parametrize("parts", [400, 20_000])
def test_no_file_keeps_the_parser_busy(shape, parts):
    line = shape.format("a." * parts) + "\n"
    raw = (line * (MAX_BYTES // len(line) or 1)).encode()
    before = time.process_time()
    with pytest.raises(UsageError):
        parse_thresholds(raw, "t.toml")
    assert time.process_time() - before < 2.0


def test_paths_that_hold_no_thresholds(tmp_path):
    for path in (tmp_path, tmp_path / "absent.toml", tmp_path / ("x" * 5000)):
        with pytest.raises(UsageError):
            read_thresholds(path)


def test_the_budget_of_the_command_line_takes_the_place_of_the_general_one():
    found = with_budget(parse_thresholds(WHOLE, "t.toml"), "3GiB")
    assert found.of("nobody").budget.memory == 3 * GIB
    assert found.of("a.b").budget.memory == 2 * GIB
    for text in ("0GB", "much", "99999999999TiB", "-1GiB", ""):
        with pytest.raises(UsageError):
            with_budget(Thresholds(), text)


KEYS = st.sampled_from(
    ["allocated", "reserved", "live", "flops", "operators", "throughput", "budget", "workloads",
     "bytes", "share", "gate", "memory", "reference", "absolute", "x"]
)  # fmt: skip
VALUES = st.recursive(
    st.sampled_from(['"2MiB"', "0", "0.5", "true", "nan", '"x"', "-1", "1979-05-27", "1e400"])
    | st.integers(-(2**70), 2**70).map(str),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_toml_is_read_or_refused(table):
    text = "\n".join(f"{key} = {value}" for key, value in table.items())
    tomllib.loads(text)
    try:
        found = parsed(text)
    except UsageError as error:
        assert str(error).isprintable()
        return
    rules = found.of("x")
    for rule in (rules.allocated, rules.reserved, rules.live, rules.flops, rules.operators):
        assert 0 <= rule.allowed(10**9) < 2**63
    assert 0.03 <= rules.throughput.share < 1
    assert math.isfinite(found.throughput.share)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw):
    try:
        parse_thresholds(raw, "t.toml")
    except UsageError as error:
        assert str(error).isprintable()


def test_a_number_that_python_does_not_print_is_one_line():
    with pytest.raises(UsageError, match="not a number of so many digits") as caught:
        parse_thresholds(b"allocated.share = 0x" + b"f" * 5000, "t.toml")
    assert len(str(caught.value)) < 300
