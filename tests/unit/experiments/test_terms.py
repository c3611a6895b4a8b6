"""What an audit on a GPU is allowed, by what was asked and what the GPU is; no GPU is needed."""

import pytest

from ffprof.errors import UsageError
from ffprof.estimator.overhead import display_overhead
from ffprof.experiments.options import Options, choose_budget
from ffprof.experiments.session import Session, Setup
from ffprof.experiments.terms import cuda_terms
from ffprof.hardware.cards import find_card
from ffprof.hardware.machine import Probe
from ffprof.hardware.profile import TEMPLATE
from ffprof.units import GIB, MIB

LAPTOP = Probe(cuda=True, gpu="NVIDIA GeForce RTX 4060 Laptop GPU", gpu_total_bytes=int(7.75 * GIB))
H100 = Probe(cuda=True, gpu="NVIDIA H100 80GB HBM3", gpu_total_bytes=int(79.2 * GIB))


def terms(found, gpu_mem=None, card=None, card_files=(), display=False):
    options = Options(
        device="cuda", gpu_mem=gpu_mem, card=card, card_files=tuple(card_files), display=display
    )
    asked = choose_budget(gpu_mem, card, card_files)
    session = Session(server=None, found=found, variables={})
    return cuda_terms(
        Setup(
            options=options, session=session, kinds=("cuda",), chosen=None, data=None, budget=asked,
            recipe=None,
        )
    )  # fmt: skip


@pytest.fixture(autouse=True)
def native(monkeypatch):
    monkeypatch.setattr("ffprof.experiments.terms.spills", lambda: "")


def test_the_gpu_itself_is_named_and_keeps_its_own_total():
    budget, evidence, notes = terms(LAPTOP)
    assert (evidence, notes) == ("measured", ())
    assert (budget.card, budget.total_bytes) == ("GeForce RTX 4060 Mobile", int(7.75 * GIB))
    unknown, _, _ = terms(Probe(cuda=True, gpu="GPU X", gpu_total_bytes=int(7.7 * GIB)))
    assert unknown.card is None


def test_a_larger_gpu_is_held_to_the_card():
    budget, evidence, (note,) = terms(H100, card="RTX 4060")
    assert (evidence, budget.card) == ("emulated", "GeForce RTX 4060")
    assert budget.limit_bytes == budget.total_bytes == find_card("RTX 4060").cuda_total_bytes
    assert "a larger GPU limited to 8GB" in note


def test_another_card_of_the_size_is_measured_as_it_is_and_told():
    budget, evidence, notes = terms(LAPTOP, card="RTX 3070")
    assert (evidence, budget.card) == ("measured", "GeForce RTX 4060 Mobile")
    (note,) = notes
    assert note.startswith("GeForce RTX 3070 was requested: this GPU, GeForce RTX 4060 Mobile")
    assert terms(LAPTOP, card="RTX 4060 mobile")[2] == ()
    assert terms(LAPTOP, gpu_mem="8GB")[2] == ()


def test_more_than_the_gpu_has_is_refused(tmp_path):
    path = tmp_path / "big.toml"
    text = TEMPLATE.replace('"8GB"', '"16GB"').replace("8_585_740_288", f"{16000 * MIB}")
    path.write_text(text.replace("8_192_524_288", f"{15900 * MIB}"))
    for asked in ({"card_files": [path]}, {"gpu_mem": "16GB"}, {"card": "RTX A2000 12GB"}):
        with pytest.raises(UsageError, match=r"is more than this GPU has \(7.75 GiB\)"):
            terms(LAPTOP, **asked)


def test_a_desktop_is_left_out_of_an_emulated_card_and_is_on_a_real_one_already():
    taken = display_overhead().likely_bytes
    budget, _, _ = terms(H100, display=True)
    assert budget.display_bytes == taken
    assert budget.limit_bytes == budget.total_bytes - taken
    budget, _, (note,) = terms(LAPTOP, display=True)
    assert budget.display_bytes == 0
    assert "no effect on the card itself" in note


def test_a_profile_of_ones_own_is_recognised_on_its_card(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEMPLATE.replace("My GPU", "NVIDIA GeForce RTX 4060 Laptop GPU"))
    budget, _, notes = terms(LAPTOP, card_files=[path])
    assert (budget.card, notes) == ("NVIDIA GeForce RTX 4060 Laptop GPU", ())


def test_a_driver_that_spills_is_told(monkeypatch):
    monkeypatch.setattr(
        "ffprof.experiments.terms.spills", lambda: "WSL: its driver is that of Windows"
    )
    budget, _, (note,) = terms(LAPTOP)
    assert budget.spills == "WSL: its driver is that of Windows"
    assert "uses host memory when the GPU is full (WSL: its driver is that of Windows)" in note
