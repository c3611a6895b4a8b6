"""A short run in a real process, whatever its child does."""

import multiprocessing
import os
import time

import pytest

from ffprof.audit.messages import Failed, Probed, Ready
from ffprof.audit.probe_run import CardProbe
from ffprof.record import Debit, Memory
from ffprof.workload import find_preset, find_workload

RECIPE = find_preset("smoke").recipe
MIB = 2**20


def child(sender, workload, recipe, hold):
    sender.send(Ready(gpu_uuid=None))
    if hold == "hangs":
        time.sleep(60)
    if hold == "dies":
        os._exit(7)
    if hold == "leaves":
        return
    if hold == "oom":
        sender.send(Failed(outcome="oom", message="CUDA out of\nmemory"))
        return
    beyond = 3 * MIB if hold == "beyond" else 0
    sender.send(
        Probed(
            memory=Memory(reserved_peak_bytes=100 * MIB, cold_reserved_peak_bytes=120 * MIB),
            debit=Debit(
                context_bytes=300 * MIB,
                step_bytes=400 * MIB,
                source="NVML, this process",
                exceeded_bytes=beyond,
            ),
        )
    )
    if hold == "dies after it":
        os._exit(7)


def run(hold, limit=30.0, workload="bp-accum"):
    probe = CardProbe(
        context=multiprocessing.get_context("fork"),
        child=child,
        held=(hold,),
        evidence="emulated",
    )
    return probe(find_workload(workload), RECIPE, limit)


def test_a_run_that_fits_says_what_it_took():
    found = run("")
    assert (found.outcome, found.evidence, found.size) == ("ok", "emulated", 8)
    assert found.reserved_bytes == 120 * MIB  # its first steps must fit, too
    assert found.process_bytes == 520 * MIB
    assert run("", workload="bp").size == 32


@pytest.mark.parametrize(
    ("hold", "outcome", "said"),
    [
        ("oom", "oom", "CUDA out of memory"),
        ("dies", "crashed", "exit status 7"),
        ("leaves", "crashed", "without an answer"),
        ("beyond", "oom", "it ran, with 3.00 MiB more than the card has"),
        ("dies after it", "ok", ""),
    ],
)
def test_every_ending_is_an_outcome(hold, outcome, said):
    found = run(hold)
    assert found.outcome == outcome
    assert said in found.message and "\n" not in found.message
    assert (found.reserved_bytes is None) == (hold in ("oom", "dies", "leaves"))


def test_a_run_is_stopped_at_its_limit():
    started = time.monotonic()
    found = run("hangs", limit=0.5)
    assert found.outcome == "timeout" and "0.5 s" in found.message
    assert time.monotonic() - started < 10
