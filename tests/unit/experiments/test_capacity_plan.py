"""What ``ffprof run --max-batch`` asks for, and what it shows meanwhile; nothing is started."""

import multiprocessing

import pytest

from ffprof.errors import UsageError
from ffprof.experiments.audit.plan import request_for
from ffprof.experiments.capacity.plan import _request, grown_by
from ffprof.experiments.capacity.probe import CardProbe
from ffprof.experiments.options import Options, choose_budget
from ffprof.experiments.selection import Selection, choose_recipe, choose_workloads
from ffprof.experiments.session import Session, Setup
from ffprof.hardware.cards import find_card
from ffprof.hardware.machine import Probe
from ffprof.units import GIB


def options(**changes):
    fields = {"preset": "smoke", "workloads": "bp,bp-accum", "time_limit": 60.0, "run_limit": 600.0}
    return Options(**(fields | changes))


def asked_of(gpu, total, **changes):
    """The request that a GPU leads to."""
    asked = options(**changes)
    session = Session(
        server=multiprocessing.get_context("fork"),
        found=Probe(cuda=True, gpu=gpu, gpu_total_bytes=total, versions={"cuda build": "13.0"}),
        variables={},
    )
    workloads = choose_workloads(asked.workloads)
    setup = Setup(
        options=asked,
        session=session,
        kinds=("cuda",),
        chosen=Selection(workloads=workloads, files=()),
        data=None,
        budget=choose_budget(asked.gpu_mem, asked.card),
        recipe=choose_recipe(asked, workloads, "cuda", None),
    )
    return _request(request_for("cuda", setup), setup, "micro-batch")


@pytest.mark.parametrize(
    ("gpu", "runs"),
    [("NVIDIA H100 80GB HBM3", "H100 SXM5"), ("Some GPU", None)],
)
def test_a_large_gpu_is_held_to_the_card_that_is_proposed_for(gpu, runs):
    made = asked_of(gpu, 80 * GIB)
    assert made.record.evidence == "emulated" and made.record.kind == "capacity"
    probe = made.run_probe
    assert isinstance(probe, CardProbe) and probe.child is None
    assert probe.budget == made.record.budget and probe.guard is made.guard
    assert probe.context.get_start_method() == "spawn"
    card = find_card(made.record.budget.card)
    # memory is the budget's, speed that of the GPU, if it has a profile
    assert made.target.total_bytes == card.cuda_total_bytes
    assert made.target.card == (find_card(runs) if runs else card)
    assert made.path.name.startswith("capacity-smoke-cuda-")
    assert (made.time_limit_seconds, made.run_limit_seconds) == (60.0, 600.0)
    assert not any("registered too" in note for note in made.record.notes)


def test_a_gpu_of_its_own_is_proposed_for_as_what_it_is():
    total = int(7.63 * GIB)
    made = asked_of("NVIDIA GeForce RTX 4060", total)
    assert made.record.evidence == "measured"
    assert made.record.budget.card == "GeForce RTX 4060"
    assert made.target.card.name == "GeForce RTX 4060" and made.target.total_bytes == total
    unknown = asked_of("Some GPU", total)
    assert unknown.target.card is None and unknown.target.total_bytes == total


def test_what_is_to_grow():
    assert grown_by(options(), {"max_batch": True}) == "micro-batch"
    flat = options(backbone="flat-4-8")
    assert grown_by(flat, {"max_depth": True, "batch": 8}) == "depth"
    with pytest.raises(UsageError, match="vgg8 has no depth"):
        grown_by(options(), {"max_depth": True})
    with pytest.raises(UsageError, match="--max-depth cannot be combined with --dry-run"):
        grown_by(flat, {"max_depth": True, "dry_run": True})
