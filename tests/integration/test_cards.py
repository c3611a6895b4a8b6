"""Cards on the real command line: the list, files of one's own, and budgets of them."""

import json
import os

import pytest
from command import TINY, ffprof, only_record
from stub_nvml import HEALTHY, build_stub, with_stub

from ffprof.estimator.overhead import display_overhead
from ffprof.hardware.cards import find_card, known_cards
from ffprof.hardware.profile import TEMPLATE
from ffprof.units import GIB, MIB

ESTIMATE = ["--preset", "smoke", "--device", "estimate", "--workloads", "bp"]
LESS = TEMPLATE.replace("8_192_524_288", f"{7000 * MIB}").replace("My GPU", "Rig One")


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(LESS)
    return path


def refused(done, *said):
    assert (done.returncode, done.stdout) == (2, ""), done.stdout
    assert done.stderr.startswith("ffprof: error: ") and done.stderr.count("\n") == 1, done.stderr
    for words in said:
        assert words in done.stderr, done.stderr


def columns(width):
    return {**os.environ, "COLUMNS": str(width)}


@pytest.mark.parametrize("width", [80, 160])
def test_the_list_has_both_totals_with_confidence_and_fits(width):
    done = ffprof("cards", env=columns(width))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= width
    assert ("Ada Lovelace" in done.stdout) is (width > 80)
    for card in known_cards():
        name = card.name if width > 80 else card.name.removeprefix("GeForce ")
        (row,) = [line for line in done.stdout.splitlines() if line.startswith(name + "  ")]
        assert row.split("GiB")[1].split()[0] == card.nvml_confidence
        assert row.split("GiB")[2].split()[0] == card.cuda_confidence


def test_the_list_is_by_size_and_says_what_a_size_means():
    lines = ffprof("cards", env=columns(80)).stdout.splitlines()
    sizes = [line.split(":")[0] for line in lines if ": as a budget, the " in line]
    assert sizes == [
        f"{n}GB" for n in (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 80, 96, 141, 180)
    ]
    assert "8GB: as a budget, the RTX 5050" in lines
    assert lines.index("24GB: as a budget, the RTX 5090 Mobile") < next(
        at for at, line in enumerate(lines) if line.startswith("RTX 4090  ")
    )


@pytest.mark.parametrize("size", ["24GB", "24 gb"])
def test_the_cards_of_a_size(size, mine):
    done = ffprof("cards", size, env=columns(80))
    assert done.returncode == 0, done.stderr
    shown = [card for card in known_cards() if card.sold_as_bytes == 24 * GIB]
    assert len(shown) == 11
    found = json.loads(ffprof("cards", size, "--format", "json").stdout)
    assert [one["name"] for one in found] == [card.name for card in shown]
    assert "RTX 3080" not in done.stdout and "L4  " in done.stdout
    refused(ffprof("cards", "25GB"), "no profiled card is sold with 25GB", "8, 10, 11, 12, 16, ")
    listed = ffprof("cards", "8GB", "--card-file", mine, env=columns(240)).stdout
    assert "\nRig One " in listed and f"Rig One: from {mine}" in listed


def test_a_name_of_two_cards_is_one_line_with_both():
    words = ["is more than one card", "name one: H100 SXM5, H100 PCIe"]
    refused(ffprof("cards", "H100"), *words)
    refused(ffprof("estimate", "--card", "h100", "--workloads", "bp"), *words)


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize(
    "name", ["H100 PCIe", "RTX PRO 6000 Server", "RTX 3070", "RTX 4060 Mobile", "Jetson Orin Nano"]
)
def test_one_card_is_shown_with_every_source_as_wide_as_the_terminal(width, name):
    done = ffprof("cards", name, env=columns(width))
    card = find_card(name)
    flowed = " ".join(done.stdout.split())
    assert all(source in flowed for source in card.sources.values())
    assert f"confidence {card.cuda_confidence}" in flowed
    assert (card.class_objection or card.name) in flowed
    assert all(called in flowed for called in card.also_called)
    assert max(map(len, done.stdout.splitlines())) <= width


def test_json_is_for_programs(mine):
    found = json.loads(ffprof("cards", "--format", "json").stdout)
    assert {one["name"] for one in found} == {card.name for card in known_cards()}
    assert all(one["sources"] and one["cuda_total_bytes"] > 0 for one in found)
    assert {one["nvml_confidence"] for one in found} == {"high", "medium", "low"}
    words = ["cards", "rig one", "--card-file", mine, "--format", "json"]
    one = json.loads(ffprof(*words).stdout)
    assert (one["origin"], one["cuda_total_bytes"]) == (str(mine), 7000 * MIB)


def test_a_card_that_is_not_known():
    refused(ffprof("cards", "RTX 4061"), "did you mean GeForce RTX 4060", "--card-file")


def test_the_template_can_be_given_back(tmp_path):
    printed = ffprof("cards", "--template").stdout
    assert printed == TEMPLATE and printed.count("#") > 8
    path = tmp_path / "card.toml"
    path.write_text(printed)
    # Wide, for a path that is longer than a line is cut.
    listed = ffprof("cards", "--card-file", path, env=columns(240)).stdout
    assert "\nMy GPU " in listed and f"My GPU: from {path}" in " ".join(listed.split())
    refused(
        ffprof("cards", "--template", "RTX 4060"),
        "--template cannot be combined with other options",
    )
    refused(ffprof("cards", "--template", "--card-file", path), "--template cannot be combined")


def test_a_file_alone_is_the_budget_and_by_name_with_others(mine, tmp_path):
    out = tmp_path / "alone"
    done = ffprof("run", *ESTIMATE, "--card-file", mine, "--out", out)
    assert done.returncode == 0, done.stderr
    record = only_record(out)
    assert (record.budget.card, record.budget.total_bytes) == ("Rig One", 7000 * MIB)
    assert f"profile from {mine}" in record.budget.sources
    assert record.trials[0].throughput.images_per_second > 0  # the child knows the card
    assert "Rig One sold with 8GB: CUDA offers 6.84 GiB, of which" in done.stdout
    other = tmp_path / "other.toml"
    other.write_text(TEMPLATE)
    words = ["estimate", "--preset", "smoke", "--workloads", "bp", "--format", "json"]
    both = ["--card-file", mine, "--card-file", other]
    (row,) = json.loads(ffprof(*words, *both, "--card", "my gpu").stdout)
    assert (row["card"], row["budget_bytes"]) == ("My GPU", 7813 * MIB)
    assert row["throughput"]["images_per_second"] > 0
    refused(ffprof(*words, *both), "2 cards are in --card-file", "Rig One or My GPU")


@pytest.mark.parametrize("command", ["run", "estimate"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--card-file", "MINE", "--gpu-mem", "8GB"], "--gpu-mem and --card-file both name"),
        (["--card-file", "MINE", "--card", "Rig Two"], "did you mean Rig One"),
        (["--card-file", "none.toml"], "none.toml cannot be read"),
        (["--card-file", "."], ". is not a file"),
        (["--gpu-mem", "200MB"], "less than CUDA's context and libraries likely take"),
        (["--gpu-mem", "500MB", "--display"], "300 MiB of it for a desktop"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line_before_anything_starts(command, words, said, mine):
    given = [mine if word == "MINE" else word for word in words]
    more = ["--out", mine.parent / "out"] if command == "run" else []
    refused(ffprof(command, *given, *more, timeout=30), said)
    assert not (mine.parent / "out").exists()


def test_a_profile_that_is_wrong_names_file_and_field(mine):
    mine.write_text(LESS.replace("sm_count = 24", "sm_cuont = 24"))
    for command in ("run", "estimate", "cards"):
        refused(ffprof(command, "--card-file", mine), f"{mine}: sm_cuont: is not a field")
    mine.write_text(LESS.replace(f"{7000 * MIB}", "-7000"))
    refused(ffprof("cards", "--card-file", mine), f"{mine}: cuda_total_bytes: ", "not -7000")


def test_a_desktop_is_left_out_and_told(mine, tmp_path):
    words = ["--card-file", mine, "--display", "--out", tmp_path / "out"]
    done = ffprof("run", *ESTIMATE, *words)
    assert done.returncode == 0, done.stderr
    budget = only_record(tmp_path / "out").budget
    taken = display_overhead().likely_bytes
    assert (budget.display_bytes, budget.total_bytes) == (taken, 7000 * MIB)
    assert budget.limit_bytes == 7000 * MIB - taken - budget.debit_bytes
    told = " ".join(done.stdout.split())
    assert "CUDA offers 6.84 GiB, less 300 MiB for a desktop, of which context" in told
    again = ffprof("report", tmp_path / "out").stdout
    assert "less 300 MiB for a desktop" in " ".join(again.split())
    table = ffprof("estimate", "--preset", "smoke", "--workloads", "bp", *words[:3]).stdout
    assert "6.84 GiB, less 300 MiB for a desktop; context and libraries add" in " ".join(
        table.split()
    )


def test_on_a_cpu_nothing_of_it_binds_and_going_on_refuses_it(mine, tmp_path):
    out = tmp_path / "out"
    budget = ["--card-file", mine, "--display"]
    done = ffprof("run", *TINY, "--workloads", "bp", "--rounds", 1, *budget, "--out", out)
    assert done.returncode == 0, done.stderr
    record = only_record(out)
    assert record.budget.limit_bytes is None
    assert any(f"--card-file {mine} --display has no effect" in note for note in record.notes)
    for words in (budget[:2], budget[2:]):
        refused(ffprof("run", "--resume", out, *words), "cannot be given with --resume")


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    return build_stub(tmp_path_factory.mktemp("stub"))


def test_the_machines_own_gpu_is_marked(stub, tmp_path):
    env = with_stub(stub, tmp_path / "table", healthy=HEALTHY)
    done = ffprof("cards", env=env)
    assert [line.split("  ")[0] for line in done.stdout.splitlines() if " * " in line] == [
        "RTX 4060 *"
    ]
    assert "* this machine's NVIDIA GeForce RTX 4060" in done.stdout
    found = json.loads(ffprof("cards", "-f", "json", env=env).stdout)
    assert [one["name"] for one in found if one["here"]] == ["GeForce RTX 4060"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"0 nvmlDeviceGetName": "NVIDIA\x1b[2J H100"}, "H100 has no profile"),
        ({"0 nvmlDeviceGetMemoryInfo": "17171480576 1048576"}, "RTX 4060 has no profile"),
        ({"0 nvmlDeviceGetUUID": "!15"}, ""),
        ({"- nvmlInitWithFlags": "!18"}, ""),
    ],
    ids=["unknown", "another size", "lost", "mismatch"],
)
def test_a_gpu_that_is_not_known_or_not_told_spoils_nothing(answers, said, stub, tmp_path):
    env = with_stub(stub, tmp_path / "table", healthy=HEALTHY, more=answers)
    done = ffprof("cards", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert said in " ".join(done.stdout.split())
    assert " * " not in done.stdout and "\x1b" not in done.stdout
    assert all(card.name.removeprefix("GeForce ") in done.stdout for card in known_cards())
