import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.errors import UsageError
from ffprof.units import (
    GIB,
    MIB,
    format_bytes,
    format_rate,
    format_ratio,
    format_seconds,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * GIB),
        ("8gb", 8 * GIB),
        ("8 GiB", 8 * GIB),
        ("7.5GB", 7 * GIB + GIB // 2),
        ("8188MiB", 8188 * MIB),
        ("1B", 1),
        ("2TB", 2048 * GIB),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "8XB",
        "-1GB",
        "0",
        "0GB",
        "",
        "GB",
        "8",
        "1e3GB",
        "nanGB",
        "8GBs",
        "٨GB",
        "0.0000001B",
        "8.GB",
    ],
)
def test_what_is_not_a_positive_size_is_one_clear_line(text):
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    message = str(caught.value)
    assert repr(text) in message
    assert "8GB" in message
    assert "\n" not in message


@given(st.text())
def test_any_text_is_a_size_or_a_usage_error(text):
    try:
        assert parse_size(text) > 0
    except UsageError as error:
        assert "\n" not in str(error)


@given(st.integers(1, 2**44))
def test_a_printed_size_reads_back_to_three_digits(size):
    text = format_bytes(size).replace(",", "")
    assert parse_size(text) == pytest.approx(size, rel=6e-3, abs=1)


def test_what_people_read():
    assert format_bytes(None) == "-"
    assert format_bytes(412) == "412 B"
    assert format_bytes(int(4.18 * GIB)) == "4.18 GiB"
    assert format_bytes(int(31.7 * MIB)) == "31.7 MiB"
    assert [format_seconds(s) for s in (4, 65, 7800)] == ["4 s", "1 min 05 s", "2 h 10 min"]
    assert [format_ratio(r) for r in (3.94, 0.97, 12.34, 0.0312)] == [
        "3.94x",
        "0.97x",
        "12.3x",
        "0.0312x",
    ]
    assert format_rate(2143.4) == "2,143"
    assert format_rate(None) == "-"
