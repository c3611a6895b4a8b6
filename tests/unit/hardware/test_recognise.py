"""Which card a GPU is, by its name and totals."""

import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stub_nvml import HEALTHY, UUID, build_stub, with_stub

from ffprof.hardware.cards import agrees, find_card, known_cards, recognise
from ffprof.hardware.profile import SIZE, TEMPLATE, card_key, parse_profile, sizeless_key
from ffprof.units import GIB, MIB


@pytest.mark.parametrize(
    ("name", "nvml_mib", "found"),
    [
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8188, "GeForce RTX 4060 Mobile"),
        ("NVIDIA GeForce RTX 4060", 8188, "GeForce RTX 4060"),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "GeForce RTX 4060 Ti 8 GB"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, "GeForce RTX 4060 Ti 16 GB"),
        ("NVIDIA GeForce RTX 5060 Ti", 8151, "GeForce RTX 5060 Ti 8 GB"),
        ("NVIDIA GeForce RTX 5060 Ti", 16311, "GeForce RTX 5060 Ti 16 GB"),
        ("NVIDIA GeForce RTX 3050", 8192, "GeForce RTX 3050 8 GB"),
        ("NVIDIA GeForce RTX 3050", 6144, None),
        ("NVIDIA GeForce RTX 3050 Laptop GPU", 4096, "GeForce RTX 3050 Mobile 4 GB"),
        ("NVIDIA GeForce RTX 3050 Laptop GPU", 6144, None),
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
        ("NVIDIA RTX 4000 Ada Generation", 20475, "RTX 4000 Ada Generation"),
        ("NVIDIA RTX 4000 Ada Generation Laptop GPU", 12282, None),
        ("NVIDIA GeForce GTX 1660 Ti", 6144, "GeForce GTX 1660 Ti"),
        ("NVIDIA GeForce RTX 2060", 6144, "GeForce RTX 2060"),
        ("NVIDIA GeForce RTX 2060", 12288, None),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", 6144, "GeForce RTX 3060 Mobile"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 8192, "GeForce RTX 3080 Mobile 8 GB"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 16384, "GeForce RTX 3080 Mobile 16 GB"),
        ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", 16384, "GeForce RTX 3080 Ti Mobile"),
        ("NVIDIA GeForce RTX 4080 Laptop GPU", 12282, "GeForce RTX 4080 Mobile"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, "GeForce RTX 4090 Mobile"),
        ("NVIDIA GeForce RTX 5070 Ti Laptop GPU", 12227, "GeForce RTX 5070 Ti Mobile"),
        ("NVIDIA GeForce RTX 5080 Laptop GPU", 16303, "GeForce RTX 5080 Mobile"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", 24463, "GeForce RTX 5090 Mobile"),
        ("NVIDIA GeForce GTX 1080 Ti", 11264, "GeForce GTX 1080 Ti"),
        ("NVIDIA GeForce RTX 2080 Ti", 11264, "GeForce RTX 2080 Ti"),
        ("NVIDIA GeForce RTX 2080 Ti", 22528, None),  # soldered by others
        ("NVIDIA GeForce RTX 3060", 12288, "GeForce RTX 3060 12 GB"),
        ("NVIDIA GeForce RTX 3060", 8192, None),
        ("NVIDIA GeForce RTX 3080", 10240, "GeForce RTX 3080 10 GB"),
        ("NVIDIA GeForce RTX 3080", 12288, "GeForce RTX 3080 12 GB"),
        ("NVIDIA GeForce RTX 3080 Ti", 12288, "GeForce RTX 3080 Ti"),
        ("NVIDIA GeForce RTX 3090", 24576, "GeForce RTX 3090"),
        ("NVIDIA GeForce RTX 3090", 24268, "GeForce RTX 3090"),  # before driver 510
        ("NVIDIA GeForce RTX 3090 Ti", 24564, "GeForce RTX 3090 Ti"),
        ("NVIDIA GeForce RTX 4070", 12282, "GeForce RTX 4070"),
        ("NVIDIA GeForce RTX 4070 SUPER", 12282, "GeForce RTX 4070 SUPER"),
        ("NVIDIA GeForce RTX 4070 Ti", 12282, "GeForce RTX 4070 Ti"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 16376, "GeForce RTX 4070 Ti SUPER"),
        ("NVIDIA GeForce RTX 4080", 16376, "GeForce RTX 4080"),
        ("NVIDIA GeForce RTX 4080 SUPER", 16376, "GeForce RTX 4080 SUPER"),
        ("NVIDIA GeForce RTX 4090", 24564, "GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 4090", 49140, None),  # soldered by others
        ("NVIDIA GeForce RTX 4090 D", 24564, None),
        ("NVIDIA GeForce RTX 5070", 12227, "GeForce RTX 5070"),
        ("NVIDIA GeForce RTX 5070 Ti", 16303, "GeForce RTX 5070 Ti"),
        ("NVIDIA GeForce RTX 5080", 16303, "GeForce RTX 5080"),
        ("NVIDIA GeForce RTX 5090", 32607, "GeForce RTX 5090"),
        ("NVIDIA TITAN RTX", 24576, "TITAN RTX"),
        ("NVIDIA RTX A4000", 16376, "RTX A4000"),
        ("NVIDIA RTX A4500", 20470, "RTX A4500"),
        ("NVIDIA RTX A5000", 24564, "RTX A5000"),
        ("NVIDIA RTX A6000", 49140, "RTX A6000"),
        ("NVIDIA RTX A6000", 46068, "RTX A6000"),  # with error correction
        ("NVIDIA RTX 4500 Ada Generation", 24570, "RTX 4500 Ada Generation"),
        ("NVIDIA RTX 5000 Ada Generation", 32760, "RTX 5000 Ada Generation"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "RTX 6000 Ada Generation"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "RTX PRO 6000 Workstation"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, "RTX PRO 6000 Server"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97887, None),
        ("Tesla T4", 15360, "Tesla T4"),
        ("Tesla P100-PCIE-16GB", 16384, "Tesla P100 PCIe 16 GB"),
        ("Tesla P100-PCIE-12GB", 12288, None),
        ("Tesla V100-PCIE-16GB", 16384, "Tesla V100 PCIe 16 GB"),
        ("Tesla V100-SXM2-16GB", 16160, "Tesla V100 SXM2 16 GB"),
        ("Tesla V100-PCIE-32GB", 32768, "Tesla V100 PCIe 32 GB"),
        ("Tesla V100-SXM2-32GB", 32768, "Tesla V100 SXM2 32 GB"),
        ("NVIDIA A2", 15356, "A2"),
        ("NVIDIA A10", 23028, "A10"),
        ("NVIDIA A10G", 23028, "A10G"),
        ("NVIDIA A30", 24576, "A30"),
        ("NVIDIA A40", 46068, "A40"),
        ("NVIDIA L4", 23034, "L4"),
        ("NVIDIA L40", 46068, "L40"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("NVIDIA A100-PCIE-40GB", 40960, "A100 PCIe 40 GB"),
        ("NVIDIA A100-SXM4-40GB", 40960, "A100 SXM4 40 GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100 PCIe 80 GB"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100 SXM4 80 GB"),
        ("NVIDIA H100 PCIe", 81559, "H100 PCIe"),
        ("NVIDIA H100 80GB HBM3", 81559, "H100 SXM5"),
        ("NVIDIA H100 NVL", 95830, None),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA H200 NVL", 143771, None),
        ("NVIDIA B200", 183359, "B200"),
        ("GRID T4-8Q", 8192, None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", 9728, None),
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
    for name in (card.name, SIZE.sub("", card.name), *card.also_called):
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
    if other.sold_as_bytes == card.sold_as_bytes:
        assert found == card
    elif found is not None:
        # the same model with the other's size, or the sizes are near each other: 40 and 48 GB are
        # not, 11 and 12 are
        sizes = (found.sold_as_bytes, other.sold_as_bytes)
        assert sizeless_key(found.name) == sizeless_key(card.name)
        assert min(sizes) > 0.85 * max(sizes)


@given(st.text(max_size=40), st.none() | st.integers(0, 2**50), st.none() | st.integers(0, 2**50))
def test_what_is_recognised_has_the_size_and_the_name(name, driver, cuda):
    card = recognise(name, driver, cuda)
    if card is not None:
        assert sizeless_key(card.name) == sizeless_key(name) or card_key(name) in card.keys
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
