"""Which card a GPU is, by its name and totals."""

import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stub_nvml import HEALTHY, UUID, build_stub, with_stub

from ffprof.hardware.cards import agrees, find_card, known_cards, recognise
from ffprof.hardware.profile import TEMPLATE, parse_profile, sizeless_key
from ffprof.units import GIB, MIB


@pytest.mark.parametrize(
    ("name", "nvml_mib", "found"),
    [
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8188, "GeForce RTX 4060 Mobile"),
        ("NVIDIA GeForce RTX 4060", 8188, "GeForce RTX 4060"),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "GeForce RTX 4060 Ti 8 GB"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, None),
        ("NVIDIA GeForce RTX 5060 Ti", 8151, "GeForce RTX 5060 Ti 8 GB"),
        ("NVIDIA GeForce RTX 5060 Ti", 16311, None),
        ("NVIDIA GeForce RTX 3050", 8192, "GeForce RTX 3050 8 GB"),
        ("NVIDIA GeForce RTX 3050", 6144, None),
        ("NVIDIA GeForce RTX 3050 Laptop GPU", 4096, None),
        ("NVIDIA RTX A2000 12GB", 12282, "RTX A2000 12 GB"),
        ("NVIDIA RTX A2000", 6138, "RTX A2000"),
        ("NVIDIA RTX A2000 Laptop GPU", 4096, None),
        ("NVIDIA T1000 8GB", 8192, "T1000 8 GB"),
        ("NVIDIA T1000", 4096, None),
        ("GeForce RTX 2070", 7982, "GeForce RTX 2070"),  # before driver 510
        ("NVIDIA GeForce RTX 2070 SUPER", 8192, "GeForce RTX 2070 SUPER"),
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", 8192, None),
        ("Tesla P4", 7611, "Tesla P4"),
        ("Quadro RTX 4000", 8192, "Quadro RTX 4000"),
        ("Quadro 4000", 2048, None),
        ("NVIDIA RTX 4000 Ada Generation", 20475, None),
        ("NVIDIA H100 80GB HBM3", 81559, None),
        ("NVIDIA GeForce RTX 4060 Ti", None, None),  # without a total, either could be meant
        ("NVIDIA GeForce RTX 4060", None, "GeForce RTX 4060"),
        ("", 8192, None),
        ("NVIDIA", 8192, None),
        ("8 GB", 8192, None),
    ],
)  # fmt: skip
def test_gpus_as_drivers_call_them(name, nvml_mib, found):
    total = None if nvml_mib is None else nvml_mib * MIB
    card = recognise(name, total, None)
    assert (card and card.name) == found


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
def test_every_card_is_recognised_by_its_own_totals_with_or_without_its_size(card):
    driver, cuda = card.nvml_total_bytes, card.cuda_total_bytes
    for name in (card.name, card.name.removesuffix(" 8 GB").removesuffix(" 12 GB")):
        called = "NVIDIA " + name.replace("Mobile", "Laptop GPU")
        assert recognise(called, driver, cuda) == card
        assert recognise(called, driver, None) == card
        assert recognise(called, None, cuda) == card
        assert recognise(called, driver * 3, None) is None
        assert recognise(called, driver, cuda // 2) is None
    assert agrees(card, cuda)


@given(st.sampled_from(known_cards()), st.sampled_from(known_cards()), st.randoms())
def test_no_name_leads_to_another_card(card, other, random):
    """Whatever the spelling and the totals, it is the card of that name or none."""
    letters = "".join(random.choice((c.upper(), c.lower())) for c in card.name if c != " ")
    found = recognise("NVIDIA " + letters, other.nvml_total_bytes, other.cuda_total_bytes)
    same_size = abs(other.sold_as_bytes - card.sold_as_bytes) < GIB
    if same_size:
        assert found == card
    else:
        twins = {"RTX A2000": "RTX A2000 12 GB", "RTX A2000 12 GB": "RTX A2000"}
        assert found is None or twins.get(card.name) == found.name


@given(st.text(max_size=40), st.none() | st.integers(0, 2**50), st.none() | st.integers(0, 2**50))
def test_what_is_recognised_has_the_size_and_the_name(name, driver, cuda):
    card = recognise(name, driver, cuda)
    if card is not None:
        assert sizeless_key(card.name) == sizeless_key(name)
        for total in (driver, cuda):
            assert total is None or 0.85 < total / card.sold_as_bytes <= 1.02


@given(st.text(max_size=20), st.sampled_from(known_cards()))
def test_a_longer_name_is_another_card(more, card):
    """A suffix that has letters or digits of its own makes it another model."""
    assume(any(c.isascii() and c.isalnum() for c in more))
    longer = f"{card.name} x{more}"
    assert recognise(longer, card.nvml_total_bytes, None) is None


def test_a_profile_of_ones_own_is_recognised_before_those_we_have():
    text = TEMPLATE.replace("My GPU", "NVIDIA GeForce RTX 4060")
    mine = parse_profile(text.encode(), "mine.toml", origin="mine.toml")
    assert recognise("NVIDIA GeForce RTX 4060", 8188 * MIB, None, (mine,)) is mine
    assert recognise("NVIDIA GeForce RTX 3070", 8192 * MIB, None, (mine,)).origin == ""


def test_totals_agree_within_two_percent():
    card = find_card("RTX 4060")
    assert agrees(card, int(7.75 * GIB)) and agrees(card, int(7.5 * GIB))
    assert not agrees(card, int(7.80 * GIB)) and not agrees(card, int(7.4 * GIB))


NVML_CODE = """
from ffprof.hardware.cards import recognise_here
card = recognise_here({uuid!r}, "what torch calls it", 8_190_000_000)
print(card and card.name)
"""


@pytest.mark.parametrize(("uuid", "name"), [(UUID, "GeForce RTX 4060"), ("GPU-other", "None")])
def test_the_machines_gpu_is_recognised_by_nvml(uuid, name, tmp_path):
    env = with_stub(build_stub(tmp_path), tmp_path / "table", healthy=HEALTHY)
    code = NVML_CODE.format(uuid=uuid)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == name
