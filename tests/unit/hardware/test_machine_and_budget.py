import os

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from records import recipe

from ffprof.errors import UsageError
from ffprof.estimator.overhead import display_overhead, process_overhead
from ffprof.estimator.target import check_room, estimated_budget, target_for, with_display
from ffprof.hardware.budget import budget_for, budget_of, cuda_budget
from ffprof.hardware.cards import find_card, known_cards
from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.flags import apply_flags, read_flags
from ffprof.hardware.machine import Probe, describe_machine, resolve_threads, usable_cpus
from ffprof.records.audit import Budget
from ffprof.units import GIB, MIB


def test_eight_gigabytes_mean_the_smallest_card_sold_as_such():
    cards = [c for c in known_cards() if c.sold_as_bytes == 8 * GIB]
    budget = budget_for("8GB")
    assert budget.card == next(c.name for c in cards if not c.class_objection)
    assert budget.limit_bytes == min(c.cuda_total_bytes for c in cards if not c.class_objection)
    assert 7 * GIB < budget.limit_bytes < 8 * GIB
    assert len(budget.sources) == 2
    assert all("confidence" in source for source in budget.sources)
    assert {c.name for c in cards if c.class_objection} == {"Tesla P4", "Jetson Orin Nano 8 GB"}


@pytest.mark.parametrize(
    ("size", "name", "mib"),
    [
        ("4GB", "GeForce RTX 3050 Mobile 4 GB", 3762),
        ("6GB", "GeForce GTX 1660 Ti", 5747),
        ("8GB", "GeForce RTX 5050", 7710),
        ("10GB", "GeForce RTX 3080 10 GB", 9871),
        ("11GB", "GeForce RTX 2080 Ti", 10825),
        ("12GB", "GeForce RTX 5070", 11764),
        ("16GB", "GeForce RTX 5060 Ti 16 GB", 15814),
        ("20GB", "RTX 4000 Ada Generation", 20039),
        ("24GB", "GeForce RTX 5090 Mobile", 24000),
        ("32GB", "GeForce RTX 5090", 32094),
        ("40GB", "A100 PCIe 40 GB", 40339),
        ("48GB", "RTX 6000 Ada Generation", 48508),
        ("80GB", "H100 SXM5", 80995),
        ("96GB", "RTX PRO 6000 Server", 97250),
        ("141GB", "H200", 143052),
        ("180GB", "B200", 182630),
    ],
)
def test_every_size_means_the_card_on_which_cuda_offers_least(size, name, mib):
    budget = budget_for(size)
    assert (budget.card, budget.limit_bytes) == (name, mib * MIB)
    assert sum("confidence" in source for source in budget.sources) == 2


def test_cards_whose_error_correction_takes_memory_stand_for_no_size():
    """They offer a sixteenth less than others of their size; the T4 is 16 GB, with 14.6 for CUDA.

    HBM has room for the correction beside what is sold: those cards do stand for their size.
    """
    objecting = {c.name for c in known_cards() if "error correction" in c.class_objection}
    assert objecting == {"Tesla P4", "Tesla T4", "A2", "A10", "A10G", "A40", "L4", "L40", "L40S"}
    for card in known_cards():
        if not card.class_objection:
            assert card.nvml_total_bytes > 0.97 * card.sold_as_bytes


def test_of_a_size_between_two_the_nearest_cards_say_what_a_driver_keeps():
    """It keeps 8 % of 4 GB and 1 % of 80: one share for all would take too much of large cards."""
    few, many = (budget_for(f"{size}GB").total_bytes / size / GIB for size in (5, 64))
    assert few < 0.93 and many > 0.985
    (source,) = budget_for("64GB").sources
    assert "98.7% of it that the RTX 6000 Ada Generation leaves, the least of the cards" in source


def test_a_size_without_a_card_is_itself():
    budget = budget_for("1500MB")
    assert (budget.card, budget.limit_bytes) == (None, 1500 * MIB)
    with pytest.raises(UsageError):
        budget_for("lots")


def test_children_start_under_the_recipes_allocator_settings_and_only_those(monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:1")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:2")
    with environment(child_environment(recipe())):
        assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ
        assert "PYTORCH_ALLOC_CONF" not in os.environ
    assert os.environ["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:2"
    chosen = recipe(flags={"allocator_conf": "expandable_segments:True", "deterministic": True})
    with environment(child_environment(chosen)):
        assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
        assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_the_environment_is_put_back_after_an_error(monkeypatch):
    monkeypatch.delenv("FFPROF_TEST", raising=False)
    with pytest.raises(ZeroDivisionError), environment({"FFPROF_TEST": "1"}):
        assert os.environ["FFPROF_TEST"] == "1"
        raise ZeroDivisionError
    assert "FFPROF_TEST" not in os.environ


def test_flags_are_set_and_read_back():
    before = read_flags()
    try:
        apply_flags(recipe(threads=1, flags={"tf32": True, "cudnn_benchmark": False}))
        found = read_flags()
        assert (found["threads"], found["tf32_matmul"], found["tf32_cudnn"]) == (1, True, True)
        assert found["cudnn_benchmark"] is False
        apply_flags(recipe(flags={"deterministic": True}))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        apply_flags(recipe(threads=before["threads"]))
    assert read_flags()["deterministic"] is False


def test_threads_are_made_explicit():
    made = recipe(threads=None)
    assert resolve_threads(made).threads == usable_cpus() >= 1
    assert resolve_threads(recipe(threads=3)).threads == 3


def test_the_fingerprint_names_the_machine_and_its_versions():
    machine = describe_machine(Probe(cuda=False), {"A": None, "B": "1"})
    assert machine.ram_bytes == psutil.virtual_memory().total
    assert machine.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert machine.environment == {"A": "(removed)", "B": "1"}
    assert machine.gpu is None


@pytest.mark.parametrize(
    ("total", "evidence", "limit"),
    [
        (7813 * MIB, "measured", 7813 * MIB),
        (int(7.79 * GIB), "measured", int(7.79 * GIB)),
        (8 * GIB, "measured", 8 * GIB),
        (8 * GIB + 1, "emulated", None),
        (139 * GIB, "emulated", None),
    ],
)
def test_a_card_of_the_size_is_measured_and_a_larger_one_emulates_it(total, evidence, limit):
    asked = budget_for("8GB")
    budget, label, notes = cuda_budget(asked, total, explicit=False)
    assert label == evidence
    assert budget.limit_bytes == (limit or asked.limit_bytes)
    assert bool(notes) is (evidence == "emulated")
    assert budget.whole_gpu is (evidence == "measured")


def test_a_recognised_gpu_is_named_and_keeps_what_cuda_offers_on_it():
    here = find_card("RTX 4060")
    total = int(7.75 * GIB)  # not what its profile says
    budget, label, _ = cuda_budget(budget_for("8GB"), total, explicit=False, here=here)
    assert (label, budget.card, budget.total_bytes) == ("measured", "GeForce RTX 4060", total)
    assert budget.sources == ("cuda_total_bytes: what CUDA reports on this GPU",)
    large = cuda_budget(budget_for("8GB"), 24 * GIB, explicit=False, here=here)
    assert (large[0].card, large[1]) == ("GeForce RTX 5050", "emulated")


def test_a_desktop_is_left_out_of_the_budget():
    plain = budget_for("8GB")
    drawn = with_display(plain)
    taken = display_overhead().likely_bytes
    assert (drawn.display_bytes, drawn.total_bytes) == (taken, plain.total_bytes)
    assert drawn.limit_bytes == plain.limit_bytes - taken > 7 * GIB
    assert any("display" in source for source in drawn.sources)
    target = target_for(drawn, find_card(drawn.card), (12, 8))
    assert target.total_bytes == drawn.limit_bytes
    estimated = estimated_budget(drawn, target)
    assert estimated.limit_bytes == drawn.limit_bytes - target.overhead.likely_bytes
    assert estimated.debit_bytes == target.overhead.likely_bytes


@given(st.integers(1, 4 * GIB), st.sampled_from([None, *known_cards()]), st.booleans())
def test_a_budget_must_be_more_than_what_a_process_likely_takes(total, card, display):
    budget = Budget(requested="1GB", total_bytes=total, limit_bytes=total)
    budget = with_display(budget) if display else budget
    capability = card.compute_capability if card else (8, 6)
    least = process_overhead(capability, cuda=(12, 8)).likely_bytes + budget.display_bytes
    if total > least:
        check_room(budget, card)
    else:
        with pytest.raises(UsageError, match="less than CUDA's context and libraries likely"):
            check_room(budget, card)


@given(st.integers(2, 512))
def test_whole_gigabytes_are_a_card_and_other_sizes_are_exact(size):
    sold = budget_for(f"{size}GB")
    assert 0.9 * size * GIB < sold.total_bytes < size * GIB
    exact = budget_for(f"{size * 1024 + 1}MiB")
    assert exact.total_bytes == (size * 1024 + 1) * MIB
    assert "taken as what CUDA offers" in exact.sources[0]
    # More is never less.
    assert budget_for(f"{size + 1}GB").total_bytes > sold.total_bytes


def test_every_card_leaves_room_even_with_a_desktop():
    for card in known_cards():
        check_room(with_display(budget_of(card)), card)


def test_a_smaller_card_is_told_or_refused():
    asked = budget_for("24GB")
    with pytest.raises(UsageError, match="more than this GPU has"):
        cuda_budget(asked, 8 * GIB, explicit=True)
    budget, label, (note,) = cuda_budget(budget_for("8GB"), 4 * GIB, explicit=False)
    assert (label, budget.limit_bytes, budget.card) == ("measured", 4 * GIB, None)
    assert "4.00 GiB" in note
