"""Profiles of the user's own: what is valid, and one line for everything that is not."""

import os
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprof.analysis.gates.thresholds import parse_thresholds
from ffprof.errors import UsageError
from ffprof.hardware.budget import budget_of
from ffprof.hardware.cards import find_card, known_cards, own_cards, recognise
from ffprof.hardware.profile import (
    FIGURES,
    MAX_BYTES,
    TEMPLATE,
    Profile,
    parse_profile,
    read_profile,
)
from ffprof.units import GIB

VALID = tomllib.loads(TEMPLATE)
REQUIRED = [name for name in VALID if not name.endswith("_tflops") or name == "fp32_tflops"]


def toml(document):
    """A small writer, for what tests put into files."""
    lines = [f"{key} = {value(one)}" for key, one in document.items() if not isinstance(one, dict)]
    for key, one in document.items():
        if isinstance(one, dict):
            lines += [f"[{key}]", *(f"{name} = {value(it)}" for name, it in one.items())]
    return "\n".join(lines).encode()


def value(one):
    if isinstance(one, bool):
        return str(one).lower()
    if isinstance(one, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in one) + '"'
    return repr(one)


def problem(document):
    with pytest.raises(UsageError) as caught:
        parse_profile(document if isinstance(document, bytes) else toml(document), "mine.toml")
    said = str(caught.value)
    assert said.isprintable() and said.startswith("mine.toml"), said
    assert "docs/cards.md" in said and "--template" in said
    return caught.value.problem


def changed(**changes):
    return {**VALID, **changes}


def test_the_template_is_a_profile():
    card = parse_profile(TEMPLATE.encode(), "template")
    assert card.name == "My GPU"
    like = find_card("RTX 4060")
    for field in ("nvml_total_bytes", "cuda_total_bytes", "fp32_flops", "sm_count", "tdp_watts"):
        assert getattr(card, field) == getattr(like, field)
    assert parse_profile(toml(VALID), "x") == card


@pytest.mark.parametrize("field", REQUIRED)
def test_what_is_missing_is_named(field):
    document = {key: one for key, one in VALID.items() if key != field}
    if field in FIGURES:
        document["sources"] = {k: v for k, v in VALID["sources"].items() if k != field}
    assert problem(document) == f"mine.toml: {field}: is missing"


@pytest.mark.parametrize("field", sorted(VALID["sources"]))
def test_every_figure_needs_a_source_and_every_source_a_figure(field):
    rest = {key: one for key, one in VALID["sources"].items() if key != field}
    assert problem(changed(sources=rest)).startswith(f"mine.toml: sources.{field}: is missing")
    told = problem(changed(sources={**VALID["sources"], "price": "a shop"}))
    assert told == "mine.toml: sources.price: is the source of no figure in this file"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"price": 299}, "mine.toml: price: is not a field"),
        ({"driver_total_mib": 8188}, "mine.toml: driver_total_mib: is not a field"),
        ({"cuda_total_bytes": -1}, "cuda_total_bytes: should be greater than or equal to"),
        ({"nvml_total_bytes": 0}, "nvml_total_bytes: should be greater"),
        ({"cuda_total_bytes": 8e9}, "cuda_total_bytes: should be a valid integer, not 8000000000"),
        ({"cuda_total_bytes": 7813}, "cuda_total_bytes: should be greater"),  # MiB, not bytes
        ({"cuda_total_bytes": 9 * GIB}, "cuda_total_bytes: is more than nvml_total_bytes"),
        ({"cuda_total_bytes": GIB}, "cuda_total_bytes: is no total of a card sold with 8GB"),
        ({"class": "80GB"}, "nvml_total_bytes: is no total of a card sold with 80GB"),
        ({"class": "8"}, "class: '8' is not a memory size"),
        ({"class": "1MB"}, "class: must be 1GB to 4096GB"),
        ({"class": 8}, "class: should be a valid string, not 8"),
        ({"year": 1999}, "year: should be greater than or equal to 2006, not 1999"),
        ({"year": "2023"}, "year: should be a valid integer, not '2023'"),
        ({"year": True}, "year: should be a valid integer, not True"),
        ({"sm_count": 10**9}, "sm_count: should be less than or equal to 2048"),
        ({"bandwidth_gb_s": 0.0}, "bandwidth_gb_s: should be greater than 0"),
        ({"fp32_tflops": float("nan")}, "fp32_tflops: should be a finite number, not nan"),
        ({"fp32_tflops": float("inf")}, "fp32_tflops: should be"),
        ({"fp32_tflops": [1.0]}, "fp32_tflops: should be a valid number, not a table or list"),
        ({"tdp_watts": -115}, "tdp_watts: should be greater"),
        ({"pcie": "PCIe 2.0 x16"}, 'pcie: is written as "PCIe 4.0 x8"'),
        ({"compute_capability": "sm_89"}, 'compute_capability: is written as "8.9"'),
        ({"stands_for_class": "yes"}, 'stands_for_class: is "no: " and the reason'),
        ({"name": "NVIDIA GeForce RTX"}, "name: must have a letter or digit"),
        ({"name": "RTX 8 GB"}, "name: must have a letter or digit"),
        ({"name": ""}, "name: text should have at least 1 character"),
        ({"name": "x" * 81}, "name: text should have at most 80 characters"),
        ({"name": "A\x9b2J"}, "name: must be one line of printable text"),
        ({"chip": "a\nb"}, "chip: must be one line of printable text"),
        ({"confidence": {"nvml_total_bytes": "high"}}, "confidence.cuda_total_bytes: is missing"),
        (
            {"confidence": {"nvml_total_bytes": "sure", "cuda_total_bytes": "low"}},
            "confidence.nvml_total_bytes: should be 'high', 'medium' or 'low', not 'sure'",
        ),
        ({"confidence": "high"}, "confidence: "),
        ({"sources": {**VALID["sources"], "chip": ""}}, "sources.chip: text should have at least"),
        ({"sources": {**VALID["sources"], "chip": 1}}, "sources.chip: should be a valid string"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_field(changes, said):
    assert said in problem(changed(**changes))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xff\xfe", "is UTF-16 text"),
        (b"\x80abc", "is not UTF-8"),
        (b"name = [", "is not TOML"),
        (b"name", "is not TOML"),
        (b"name = 1\nname = 2", "is not TOML"),
        (b"a = " + b"[" * 30_000, "is not TOML"),
        (b"a = " + b"9" * 10_000, "is not TOML"),
        (b"", "name: is missing"),
        (b"#" * (MAX_BYTES + 1), "is larger than a profile can be"),
        (b"\x00", "is not TOML"),
    ],
)
def test_what_is_no_profile_at_all(raw, said):
    assert said in problem(raw)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_content_does_more_than_a_line(raw):
    with pytest.raises(UsageError) as caught:
        parse_profile(raw, "mine.toml")
    assert str(caught.value).isprintable()


WRONG = st.one_of(
    st.integers(min_value=-(2**70), max_value=0),
    st.integers(min_value=2**50),
    st.booleans(),
    st.floats(max_value=0),
    st.lists(st.integers(), max_size=2),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([key for key in VALID if key not in ("sources", "confidence")]), WRONG)
def test_no_field_takes_a_wrong_value(field, wrong):
    assert problem(changed(**{field: wrong})).startswith(f"mine.toml: {field}: ")


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 512),
    st.floats(0.93, 1.0),
    st.floats(0.88, 1.0),
    st.text(min_size=1, max_size=60),
)
def test_whatever_is_sensible_is_read_as_it_is_written(size, driver, cuda, text):
    """Any size of card; any text as a source, if it can be printed."""
    nvml_total = int(size * GIB * driver)
    cuda_total = int(nvml_total * cuda)
    document = changed(
        nvml_total_bytes=nvml_total,
        cuda_total_bytes=cuda_total,
        sources={**VALID["sources"], "year": text},
    )
    document["class"] = f"{size}GB"
    if not text.isprintable():
        assert "sources.year: must be one line" in problem(document)
        return
    card = parse_profile(toml(document), "mine.toml")
    assert (card.nvml_total_bytes, card.cuda_total_bytes) == (nvml_total, cuda_total)
    assert card.sources["year"] == text
    assert budget_of(card).requested == f"{size}GB"
    assert budget_of(card).limit_bytes == cuda_total


def test_files_that_cannot_be_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in (
        (tmp_path / "none.toml", "cannot be read: No such file"),
        (tmp_path, "is not a file"),
        (pipe, "is not a file"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (tmp_path / "\x1b[2J.toml", "?[2J.toml cannot be read"),
    ):
        with pytest.raises(UsageError) as caught:
            read_profile(path)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()


def test_own_cards_stand_among_the_others_and_take_the_place_of_their_namesakes(tmp_path):
    mine, better = tmp_path / "mine.toml", tmp_path / "better.toml"
    mine.write_text(TEMPLATE)
    better.write_text(TEMPLATE.replace("My GPU", "rtx4060"))
    own = own_cards([mine, better, mine])
    assert [card.origin for card in own] == [str(mine), str(better)]
    assert len(known_cards(own)) == len(known_cards()) + 1
    assert find_card("NVIDIA GeForce RTX 4060", own).origin == str(better)
    assert find_card("my-gpu", own).name == "My GPU"
    assert f"profile from {mine}" in budget_of(own[0]).sources
    other = tmp_path / "other.toml"
    other.write_text(TEMPLATE.replace("My GPU", "Workstation 9000"))
    with pytest.raises(UsageError, match="did you mean Workstation 9000"):
        find_card("Workstation 900", own_cards([other]))
    twice = tmp_path / "twice.toml"
    twice.write_text(TEMPLATE)
    with pytest.raises(UsageError, match="both describe a card My GPU"):
        own_cards([mine, twice])


def test_a_card_answers_to_its_other_names(tmp_path):
    raw = toml(changed(name="Rig One", also_called=["PG506-230", "GeForce RTX 4060"]))
    (tmp_path / "mine.toml").write_bytes(raw)
    own = own_cards([tmp_path / "mine.toml"])
    for name in ("rig one", "NVIDIA PG506-230", "RTX 4060"):
        assert find_card(name, own).name == "Rig One"
    assert "GeForce RTX 4060" not in {card.name for card in known_cards(own)}
    assert recognise("NVIDIA PG506-230", own[0].nvml_total_bytes, None, own) is own[0]
    for wrong in (["RTX"], [""], [1], "PG506", ["x"] * 21):
        assert problem(changed(also_called=wrong)).startswith("mine.toml: also_called")


def test_the_model_knows_every_figure_that_a_card_has():
    """A new figure must get a source as well."""
    about = {"name", "also_called", "size", "stands_for_class", "confidence", "sources"}
    assert set(FIGURES) == set(Profile.model_fields) - about


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xef\xbb\xbfname = 'x'", "begins with a byte order mark; save it as UTF-8 without one"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"a = 1\n<<<<<<< ours\nb = 1\n=======\nb = 2\n>>>>>>> theirs\n", "unresolved merge conf"),
        ("name = 'x'".encode("utf-16"), "is UTF-16 text"),
    ],
)
def test_what_is_there_in_a_profile_s_stead_is_named(raw, said):
    with pytest.raises(UsageError, match=said):
        parse_profile(raw, "card.toml")
    with pytest.raises(UsageError, match=said):
        parse_thresholds(raw, "thresholds.toml")
