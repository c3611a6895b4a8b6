import re
import tomllib
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.errors import UsageError
from ffprof.hardware.cards import find_card, known_cards
from ffprof.hardware.profile import FIGURES, parse_profile
from ffprof.units import GIB, MIB

PROFILES = {
    entry.name: tomllib.loads(entry.read_text(encoding="utf-8"))
    for entry in resources.files("hw_profiles").iterdir()
    if entry.name.endswith(".toml")
}
TENSOR_CORES = {"Turing", "Ampere", "Ada Lovelace", "Blackwell 2.0"}


def test_there_are_all_the_cards():
    names = [card.name for card in known_cards()]
    assert len(names) == len(set(names)) == len(PROFILES) == 28
    assert sum(card.sold_as_bytes == 8 * GIB for card in known_cards()) == 26


@pytest.mark.parametrize("file", sorted(PROFILES))
def test_every_figure_of_a_profile_has_a_source(file):
    profile = PROFILES[file]
    assert profile.keys() & set(FIGURES) == profile["sources"].keys()
    assert all(len(source) > 3 for source in profile["sources"].values())


@pytest.mark.parametrize("file", sorted(PROFILES))
def test_confidence_is_what_the_sources_say(file):
    """Low is what was inferred from another card; what was read once on the card is medium."""
    sources, sure = PROFILES[file]["sources"], PROFILES[file]["confidence"]
    inferred = "inferred, not read on this card" in sources["cuda_total_bytes"]
    assert sure["cuda_total_bytes"] == ("low" if inferred else "medium")
    once = "GiB in an out-of-memory message on this card" in sources["cuda_total_bytes"]
    assert once is not inferred
    other = ("family", "inferred", "nominal", "recalled", "laptop card", "unsupported")
    elsewhere = any(word in sources["nvml_total_bytes"] for word in other)
    assert (sure["nvml_total_bytes"] == "low") is elsewhere


def test_of_two_readings_a_profile_takes_the_smaller_and_keeps_both():
    kept = {}
    for profile in PROFILES.values():
        source = profile["sources"]["cuda_total_bytes"]
        if "takes the smaller one" in source:
            (other,) = re.findall(r"; (7\.\d\d) GiB were read on this card", source)
            kept[profile["name"]] = float(other)
            assert profile["cuda_total_bytes"] < float(other) * GIB
    assert kept == {
        "GeForce RTX 3070": 7.78,
        "GeForce RTX 4060 Mobile": 7.75,
        "Quadro RTX 4000": 7.80,
    }


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
def test_cuda_offers_what_was_seen_on_cards_of_8_gb_under_linux(card):
    """7.53 on Blackwell, 7.60 to 7.66 and up to 7.80 later and before, 7.92 on Pascal."""
    if card.sold_as_bytes != 8 * GIB or card.class_objection:
        return
    seen = card.cuda_total_bytes / GIB
    if card.architecture == "Pascal":
        assert 7.91 < seen < 7.94
    else:
        assert 7.52 < seen < 7.81


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
def test_figures_are_plausible(card):
    assert card.cuda_total_bytes < card.nvml_total_bytes <= 1.03 * card.sold_as_bytes
    assert 0.85 * card.sold_as_bytes < card.cuda_total_bytes
    # what the driver keeps: 60 to 700 MiB on everything that was read
    assert 60 * MIB <= card.nvml_total_bytes - card.cuda_total_bytes <= 700 * MIB
    assert (6, 0) <= card.compute_capability < (13, 0)
    assert 5 <= card.sm_count <= 50
    assert 60e9 < card.bandwidth_bytes_per_second < 700e9
    assert 1e12 < card.fp32_flops < 25e12
    assert 10 <= card.tdp_watts <= 300
    assert 7e9 < card.pcie_bytes_per_second < 64e9
    assert 2016 <= card.year <= 2026


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
def test_peaks_fit_the_architecture(card):
    # Clock that the fp32 peak implies, at 64 (Turing) or 128 lanes an SM, two FLOP a lane.
    lanes = 64 if card.architecture == "Turing" else 128
    clock = card.fp32_flops / (2 * lanes * card.sm_count)
    assert 0.5e9 < clock < 3.0e9
    tensor = card.fp16_tensor_flops
    assert (tensor is not None) == (card.architecture in TENSOR_CORES and card.chip != "TU117")
    newer = card.compute_capability >= (8, 0)
    assert (card.bf16_tensor_flops is not None) is (card.tf32_flops is not None) is newer
    if tensor:
        assert 1.9 < tensor / card.fp32_flops < 8.1
    if newer:
        assert card.bf16_tensor_flops == tensor
        assert card.tf32_flops == pytest.approx(tensor / 2, rel=0.01)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA GeForce RTX 4060", "GeForce RTX 4060"),
        ("geforce  rtx4060", "GeForce RTX 4060"),
        ("4060", "GeForce RTX 4060"),
        ("RTX 4060 8GB", "GeForce RTX 4060"),
        ("RTX 3050", "GeForce RTX 3050 8 GB"),
        ("NVIDIA GeForce RTX 4060 Ti", "GeForce RTX 4060 Ti 8 GB"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "GeForce RTX 4070 Mobile"),
        ("NVIDIA RTX A2000 12GB", "RTX A2000 12 GB"),
        ("rtx a2000", "RTX A2000"),
        ("p4", "Tesla P4"),
    ],
)
def test_cards_are_found_as_people_and_drivers_call_them(name, found):
    assert find_card(name).name == found


@given(st.sampled_from(known_cards()), st.randoms())
def test_every_card_is_found_whatever_its_spelling(card, random):
    letters = [random.choice((c.upper(), c.lower())) for c in card.name if c != " "]
    assert find_card("NVIDIA " + "".join(letters)) == card


@pytest.mark.parametrize("name", ["RTX 4061", "RTX 4060 16 GB", "H100", "", "GeForce RTX"])
def test_what_is_not_known_is_an_error(name):
    with pytest.raises(UsageError, match="no profile of a card"):
        find_card(name)


def test_the_error_names_what_is_spelled_like_it():
    with pytest.raises(UsageError, match="did you mean GeForce RTX 4060"):
        find_card("RTX 4061")


def test_units_of_a_profile():
    raw = resources.files("hw_profiles").joinpath("geforce_rtx_3070.toml").read_bytes()
    card = parse_profile(raw, "geforce_rtx_3070.toml")
    assert card.nvml_total_bytes == 8192 * 1024**2
    assert card.cuda_total_bytes == 7816 * 1024**2
    assert card.bandwidth_bytes_per_second == 448e9
    assert card.fp32_flops == pytest.approx(20.31e12)
    # 16 lanes of 16 GT/s, 128 of 130 bits carry data
    assert card.pcie_bytes_per_second == pytest.approx(31.5e9, rel=0.001)
