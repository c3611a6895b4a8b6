import csv
import re
import tomllib
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.errors import UsageError
from ffprof.hardware.cards import find_card, known_cards
from ffprof.hardware.profile import FIGURES, card_key, parse_profile
from ffprof.units import GIB, MIB

PROFILES = {
    entry.name: tomllib.loads(entry.read_text(encoding="utf-8"))
    for entry in resources.files("hw_profiles").iterdir()
    if entry.name.endswith(".toml")
}
WITHOUT_TENSOR_CORES = ("TU116", "TU117")
# GB/s of memories, as wide and as fast as they are built
BANDWIDTH = {
    "LPDDR5": (60, 110),
    "GDDR5": (150, 350),
    "GDDR5X": (300, 550),
    "GDDR6": (150, 1000),
    "GDDR6X": (500, 1010),
    "GDDR7": (380, 1800),
    "HBM2": (700, 1600),
    "HBM2e": (1900, 2100),
    "HBM3": (3000, 3500),
    "HBM3e": (4500, 8500),
}


def test_there_are_all_the_cards():
    names = [card.name for card in known_cards()]
    assert len(names) == len(set(names)) == len(PROFILES) == 94
    classes = Counter(profile["class"] for profile in PROFILES.values())
    assert classes == {
        "4GB": 1, "6GB": 4, "8GB": 27, "10GB": 1, "11GB": 2, "12GB": 10, "16GB": 17, "20GB": 2,
        "24GB": 11, "32GB": 4, "40GB": 2, "48GB": 5, "80GB": 4, "96GB": 2, "141GB": 1, "180GB": 1,
    }  # fmt: skip


def test_the_page_counts_the_cards_and_how_sure_their_totals_are():
    page = (Path(__file__).parents[3] / "docs/cards.md").read_text()
    rows = re.findall(r"^\| ([\d, and]+) GB \| (\d+) \| ([\d, ]+) \| ([\d, ]+) \|$", page, re.M)
    told, levels = set(), ("high", "medium", "low")
    for sizes, many, nvml, cuda in rows:
        classes = {f"{size}GB" for size in re.findall(r"\d+", sizes)}
        sure = [one["confidence"] for one in PROFILES.values() if one["class"] in classes]
        assert len(sure) == int(many)
        for key, counts in (("nvml_total_bytes", nvml), ("cuda_total_bytes", cuda)):
            found = Counter(one[key] for one in sure)
            assert ", ".join(str(found[level]) for level in levels) == counts
        told |= classes
    assert told == {profile["class"] for profile in PROFILES.values()}


def test_no_two_cards_answer_to_one_name():
    named = Counter(key for card in known_cards() for key in card.keys)
    assert [key for key, times in named.items() if times > 1] == []
    assert all(card.keys[0] == card_key(card.name) for card in known_cards())


@pytest.mark.parametrize("file", sorted(PROFILES))
def test_every_figure_of_a_profile_has_a_source(file):
    profile = PROFILES[file]
    assert profile.keys() & set(FIGURES) == profile["sources"].keys()
    assert all(len(source) > 3 for source in profile["sources"].values())


@pytest.mark.parametrize("file", sorted(PROFILES))
def test_confidence_is_what_the_sources_say(file):
    """Low is what was inferred from another card; what was read once on the card is medium."""
    sources, sure = PROFILES[file]["sources"], PROFILES[file]["confidence"]
    said = sources["cuda_total_bytes"]
    ways = {
        "low": "inferred, not read on this card" in said,
        "medium": "in one public log" in said
        or re.match(r"\d\.\d\d GiB in an out-of-memory message on this card", said) is not None,
        "high": "in several public logs on this card" in said,
    }
    assert [way for way, holds in ways.items() if holds] == [sure["cuda_total_bytes"]]
    other = ("family", "inferred", "nominal", "recalled", "laptop card", "unsupported")
    said = sources["nvml_total_bytes"]
    assert (sure["nvml_total_bytes"] == "low") is any(word in said for word in other)
    for words, level in (("several public logs", "high"), ("one public log", "medium")):
        if words in said:
            assert sure["nvml_total_bytes"] == level


def test_of_two_readings_a_profile_takes_the_smaller_and_keeps_both():
    kept = {}
    for profile in PROFILES.values():
        source = profile["sources"]["cuda_total_bytes"]
        if "takes the smaller one" in source:
            found = re.findall(r"; (\d[\d.]+) (GiB|MiB) were read on this card", source)
            kept[profile["name"]] = [float(size) for size, _ in found]
            for size, unit in found:
                read = float(size) * (GIB if unit == "GiB" else MIB)
                assert profile["cuda_total_bytes"] < read < profile["nvml_total_bytes"]
    assert len(kept) > 10
    assert (kept["GeForce RTX 3070"], kept["GeForce RTX 4060 Mobile"]) == ([7.78], [7.75])
    assert kept["Quadro RTX 4000"] == [7.80]


@pytest.mark.parametrize("file", sorted(PROFILES))
def test_what_was_read_last_is_what_a_profile_has(file):
    """Of what several logs say of a card, the smallest; in its source, the first or second."""
    said = PROFILES[file]["sources"]["cuda_total_bytes"]
    if "in several public logs on this card" not in said:
        return
    read = said.split("in several public logs")[0]
    sizes = [float(size) for size in re.findall(r"\d+(?:\.\d+)?", re.sub(r"\(.*?\)", "", read))]
    least = min(size * GIB if size < 1000 else size * MIB for size in sizes)
    assert PROFILES[file]["cuda_total_bytes"] == pytest.approx(least, abs=6 * MIB)


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
    # what the driver keeps: 60 to 700 MiB of up to 48 GiB on everything that was read, and hardly
    # more of larger ones
    most = 700 if card.sold_as_bytes <= 48 * GIB else 900
    assert 60 * MIB <= card.nvml_total_bytes - card.cuda_total_bytes <= most * MIB
    assert (6, 0) <= card.compute_capability < (13, 0)
    assert 5 <= card.sm_count <= 200
    low, high = BANDWIDTH[card.memory_type]
    assert low * 1e9 < card.bandwidth_bytes_per_second < high * 1e9
    assert 1e12 < card.fp32_flops < 130e12
    assert 10 <= card.tdp_watts <= 1000
    assert 7e9 < card.pcie_bytes_per_second < 64e9
    assert 2016 <= card.year <= 2026


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
def test_peaks_fit_the_architecture(card):
    # Clock that the fp32 peak implies, at 64 or 128 lanes an SM, two FLOP a lane.
    lanes = 64 if card.chip in ("GP100", "GV100", "GA100") or card.chip.startswith("TU") else 128
    clock = card.fp32_flops / (2 * lanes * card.sm_count)
    assert 0.5e9 < clock < 3.0e9
    assert card.sm_cycles_per_second == pytest.approx(clock * card.sm_count)
    tensor = card.fp16_tensor_flops
    has = card.compute_capability >= (7, 0) and card.chip not in WITHOUT_TENSOR_CORES
    assert (tensor is not None) is has
    newer = card.compute_capability >= (8, 0)
    assert (card.bf16_tensor_flops is not None) is (card.tf32_flops is not None) is newer
    if tensor:
        assert tensor / card.fp32_flops == pytest.approx(tensor_ratio(card), rel=0.02)
    if newer:
        assert card.bf16_tensor_flops == tensor
        assert card.tf32_flops == pytest.approx(tensor / 2, rel=0.01)


def tensor_ratio(card):
    """fp16 on tensor cores with fp32 accumulation over fp32: NVIDIA's whitepapers.

    GeForce cards have half the rate with fp32 accumulation, and so have the A10G and the L40.
    """
    if card.chip in ("GA100", "GH100", "GB100"):
        return {"GA100": 16, "GH100": 14.8, "GB100": 30}[card.chip]
    full = 8 if card.architecture in ("Volta", "Turing") else 4
    return full / 2 if card.name.startswith(("GeForce", "A10G")) or card.name == "L40" else full


def test_profiles_agree_with_what_speeds_were_fitted_on():
    """Peaks of the same cards in the data of the roofline, from the data sheets."""
    path = Path(__file__).parents[3] / "benchmarks/accuracy/data/public_cards.csv"
    with path.open() as file:
        rows = {row["name"].removesuffix(" 80 GB") if "H100" in row["name"] else row["name"]: row
                for row in csv.DictReader(file)}  # fmt: skip
    cards = {card.name: card for card in known_cards()}
    calls = {
        "V100 SXM2 16 GB": "Tesla V100 SXM2 16 GB", "RTX 3080": "GeForce RTX 3080 10 GB",
        "RTX 6000 Ada": "RTX 6000 Ada Generation",
    }  # fmt: skip
    seen = 0
    for name, row in rows.items():
        card = cards.get(calls.get(name, name)) or cards.get(f"GeForce {name}")
        if card is None:
            assert name in ("TITAN Xp", "TITAN V", "Quadro RTX 8000")
            continue
        seen += 1
        assert ".".join(map(str, card.compute_capability)) == row["compute_capability"]
        assert card.sm_count == int(row["sm_count"])
        for has, said in (
            (card.fp32_flops / 1e12, row["fp32_tflops"]),
            (card.bandwidth_bytes_per_second / 1e9, row["bandwidth_gb_s"]),
            (card.tf32_flops and card.tf32_flops / 1e12, row["tf32_tflops"]),
            (card.fp16_tensor_flops and card.fp16_tensor_flops / 1e12, row["fp16_tensor_tflops"]),
        ):
            assert has == (pytest.approx(float(said), rel=0.01) if said else None), name
    assert seen == 16


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
        ("3060", "GeForce RTX 3060 12 GB"),
        ("RTX 4060 Ti", "GeForce RTX 4060 Ti 8 GB"),
        ("RTX 4060 Ti 16", "GeForce RTX 4060 Ti 16 GB"),
        ("rtx-4060-ti-16g", "GeForce RTX 4060 Ti 16 GB"),
        ("RTX 3080", "GeForce RTX 3080 10 GB"),
        ("rtx3080-12gb", "GeForce RTX 3080 12 GB"),
        ("RTX 3080 Laptop GPU", "GeForce RTX 3080 Mobile 8 GB"),
        ("3080 mobile 16GB", "GeForce RTX 3080 Mobile 16 GB"),
        ("RTX 4090 24GB", "GeForce RTX 4090"),
        ("A100 PCIe", "A100 PCIe 40 GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80 GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5"),
        ("H100 SXM 80GB", "H100 SXM5"),
        ("H100 PCIe 80GB", "H100 PCIe"),
        ("V100-SXM2", "Tesla V100 SXM2 16 GB"),
        ("V100-SXM2-32GB", "Tesla V100 SXM2 32 GB"),
        ("Tesla T4", "Tesla T4"),
        ("t4", "Tesla T4"),
        ("P100", "Tesla P100 PCIe 16 GB"),
        ("L40S", "L40S"),
        ("L4", "L4"),
        ("h200 141gb", "H200"),
        ("A6000", "RTX A6000"),
        ("RTX 6000 Ada", "RTX 6000 Ada Generation"),
        ("RTX 4000 Ada", "RTX 4000 Ada Generation"),
        ("RTX A4000", "RTX A4000"),
        ("Quadro RTX 4000", "Quadro RTX 4000"),
        ("RTX 4000", "Quadro RTX 4000"),
        ("RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Workstation"),
        ("Titan RTX", "TITAN RTX"),
    ],
)
def test_cards_are_found_as_people_and_drivers_call_them(name, found):
    assert find_card(name).name == found


@given(st.sampled_from(known_cards()), st.randoms())
def test_every_card_is_found_whatever_its_spelling(card, random):
    letters = [random.choice((c.upper(), c.lower())) for c in card.name if c != " "]
    assert find_card("NVIDIA " + "".join(letters)) == card


@pytest.mark.parametrize(
    "name", ["RTX 4061", "RTX 4060 16 GB", "GH100", "", "GeForce RTX", "H100 NVL", "RTX 3090 12"]
)
def test_what_is_not_known_is_an_error(name):
    with pytest.raises(UsageError, match="no profile of a card"):
        find_card(name)


def test_the_error_names_what_is_spelled_like_it():
    with pytest.raises(UsageError, match="did you mean GeForce RTX 4060"):
        find_card("RTX 4061")
    # the Quadro RTX 5000 is another card
    with pytest.raises(UsageError, match=r"no profile .* did you mean RTX 5000 Ada Generation\? "):
        find_card("RTX 5000")


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("H100", {"H100 PCIe", "H100 SXM5"}),
        (
            "A100",
            {"A100 PCIe 40 GB", "A100 PCIe 80 GB", "A100 SXM4 40 GB", "A100 SXM4 80 GB"},
        ),
        ("a100-80gb", {"A100 PCIe 80 GB", "A100 SXM4 80 GB"}),
        ("A100 80 GB", {"A100 PCIe 80 GB", "A100 SXM4 80 GB"}),
        ("A100 SXM", {"A100 SXM4 40 GB", "A100 SXM4 80 GB"}),
        ("V100 32GB", {"Tesla V100 PCIe 32 GB", "Tesla V100 SXM2 32 GB"}),
        ("RTX PRO 6000", {"RTX PRO 6000 Server", "RTX PRO 6000 Workstation"}),
    ],
)
def test_a_name_of_several_cards_is_answered_with_all_of_them(name, choices):
    """Boards of one chip that differ in speed; a size alone would be the smallest one's."""
    with pytest.raises(UsageError, match="is more than one card; name one: ") as caught:
        find_card(name)
    told = str(caught.value)
    assert "\n" not in told
    assert set(told.split("name one: ")[1].split(", ")) == choices
    for choice in choices:
        assert find_card(choice).name == choice


def test_units_of_a_profile():
    raw = resources.files("hw_profiles").joinpath("geforce_rtx_3070.toml").read_bytes()
    card = parse_profile(raw, "geforce_rtx_3070.toml")
    assert card.nvml_total_bytes == 8192 * 1024**2
    assert card.cuda_total_bytes == 7816 * 1024**2
    assert card.bandwidth_bytes_per_second == 448e9
    assert card.fp32_flops == pytest.approx(20.31e12)
    # 16 lanes of 16 GT/s, 128 of 130 bits carry data
    assert card.pcie_bytes_per_second == pytest.approx(31.5e9, rel=0.001)
