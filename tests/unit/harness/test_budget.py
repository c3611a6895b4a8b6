"""A process under a budget: torch's own allocator is held, on a CUDA that only counts memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub_cuda import build_stub

from ffprof.experiments.attempt import Debits, hold_for, with_debit, words_of
from ffprof.hardware.memory_limit import MemoryLimit, Moment, out_of_memory
from ffprof.records.audit import Budget, Debit

MIB, GIB = 2**20, 2**30
SCRIPT = Path(__file__).parents[2] / "support" / "budget_on_stub.py"


def task(readings, *, total=1000, counted=0, limited=True, cached=(), later=()):
    """Sizes in MiB."""
    return {
        "hold": {
            "total_bytes": total * MIB,
            "words": "8GB (some card)",
            "counted_bytes": counted * MIB,
            "limited": limited,
        },
        "readings": [reading * MIB for reading in readings],
        "cached": list(cached),
        "later": list(later),
    }


GROWING = [100, 350, 350]
TASKS = {
    "inside": task([300], counted=400, later=[500]),
    "outside": task([300], counted=400, later=[610]),
    "small": task([0], total=100, later=[200]),
    "lowered": task(GROWING, counted=200, cached=[760], later=[600]),
    "lowered, outside": task(GROWING, counted=200, cached=[760], later=[700]),
    "known, outside": task(GROWING, counted=350, cached=[760]),
    "known, inside": task(GROWING, counted=350, cached=[610], later=[600]),
    "late": task([100, 100, 160], counted=100, later=[860]),
    "below the context": task([300], total=200, later=[1]),
    "no limit": task([300, 320], limited=False, later=[5000]),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    stub = build_stub(tmp_path_factory.mktemp("cuda"))
    env = {**os.environ, "LD_PRELOAD": str(stub / "libcuda.so.1"), "LD_LIBRARY_PATH": str(stub)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT)],
        input=json.dumps(list(TASKS.values())), env=env, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(TASKS, json.loads(done.stdout), strict=True))


def test_the_limit_is_the_card_less_what_is_counted(ran):
    debit = ran["inside"]["debit"]
    assert debit["counted_bytes"] == 400 * MIB
    assert debit["slack_bytes"] == 32 * MIB
    assert debit["limit_bytes"] == 600 * MIB - debit["slack_bytes"]
    assert debit["exceeded_bytes"] == 0
    told = ran["outside"]["oom"]
    assert told.startswith("out of memory: 610 MiB more do not fit the budget of 8GB (some card);")
    assert "1,000 MiB, context and libraries take 400 MiB, which leaves 600 MiB" in told


def test_the_text_names_the_budget_and_not_the_gpu_beneath(ran):
    over = ran["small"]
    assert "80.00 GiB" in over["torch"]  # torch names the GPU beneath
    assert "80" not in over["oom"].replace("8GB", "")


def test_a_first_step_that_takes_more_lowers_the_limit(ran):
    debit = ran["lowered"]["debit"]
    assert debit["step_bytes"] == 350 * MIB
    assert debit["counted_bytes"] == 350 * MIB
    assert debit["limit_bytes"] == (650 - 32) * MIB
    # In its first step it had more: the limit was not known better, and that is told.
    assert debit["exceeded_bytes"] == (760 + 350 - 1000) * MIB
    assert ran["lowered, outside"]["oom"]


def test_what_was_known_before_keeps_it_inside_from_the_first_step(ran):
    assert ran["known, outside"]["oom"]
    assert ran["known, inside"]["debit"]["exceeded_bytes"] == 0


def test_growth_after_the_first_step_is_told(ran):
    debit = ran["late"]["debit"]
    assert debit["end_bytes"] == 160 * MIB
    assert debit["exceeded_bytes"] == 20 * MIB


def test_a_budget_below_the_context_is_an_outcome(ran):
    assert ran["below the context"]["debit"] is None
    told = ran["below the context"]["oom"]
    assert "context and libraries take 300 MiB, which leaves 0 B" in told


def test_without_a_limit_the_debit_is_measured_and_nothing_is_held(ran):
    found = ran["no limit"]
    assert found["oom"] is None
    assert found["debit"]["limit_bytes"] is None
    assert (found["debit"]["step_bytes"], found["debit"]["exceeded_bytes"]) == (320 * MIB, 0)
    assert found["reserved"] >= 5000 * MIB


def moment(*, reserved=6000, debit=500, free=60_000, device=80_000, limit=7400):
    return Moment(
        reserved_bytes=reserved * MIB,
        debit_bytes=debit * MIB,
        free_bytes=free * MIB,
        device_bytes=device * MIB,
        limit_bytes=None if limit is None else limit * MIB,
    )


TOLD = "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has ..."
HOLD = MemoryLimit(total_bytes=8 * GIB, words="8GB (a card)")


@pytest.mark.parametrize(
    ("now", "others"),
    [
        (moment(), True),  # below the limit, and yet it could not be allocated
        (moment(reserved=7000), False),
        # A driver that spills: the limit is the GPU's own, and little is free.
        (moment(reserved=7300, free=100, device=8000), False),
        (moment(reserved=7000, free=450, device=8000, limit=None), False),
        (moment(reserved=5000, free=400, device=8000, limit=None), True),
    ],
)
def test_who_is_to_blame_follows_from_the_figures(now, others):
    why = out_of_memory(HOLD, TOLD, now)
    assert why.others == others
    assert ("something else is on it" in why.text) == others
    assert "8GB (a card)" in why.text


@pytest.mark.parametrize(
    ("now", "others"),
    [
        (moment(free=10), True),  # the GPU is full of what is not known
        (moment(free=10, device=6510), False),  # full, and all of it is known
        (moment(free=60_000), False),
    ],
)
def test_a_library_that_names_no_size_is_judged_by_who_fills_the_gpu(now, others):
    assert out_of_memory(HOLD, "CUBLAS_STATUS_ALLOC_FAILED", now).others == others


def test_without_a_limit_the_total_is_that_of_the_gpu():
    full = moment(reserved=78_000, debit=1000, free=950, limit=None)
    text = out_of_memory(MemoryLimit(total_bytes=8 * GIB, words="the whole GPU"), TOLD, full).text
    assert "the whole GPU; CUDA offers 78.1 GiB" in text


@given(st.text(max_size=200))
def test_any_text_of_torchs_gives_one_sentence(told):
    text = out_of_memory(HOLD, told, moment(reserved=7400)).text
    assert text.startswith("out of memory")
    assert "8GB" in text


def test_an_emulated_card_is_a_limit_and_a_card_of_its_own_is_not():
    budget = Budget(
        requested="8GB",
        card="A",
        total_bytes=8 * GIB,
        display_bytes=GIB,
        target_debit_bytes=700 * MIB,
    )
    hold = hold_for(budget, "emulated", 300 * MIB)
    assert (hold.total_bytes, hold.counted_bytes, hold.limited) == (7 * GIB, 700 * MIB, True)
    assert hold_for(budget, "emulated", 900 * MIB).counted_bytes == 900 * MIB
    assert not hold_for(budget, "emulated", limited=False).limited
    assert not hold_for(budget, "measured").limited
    whole = budget.model_copy(update={"whole_gpu": True})
    assert not hold_for(whole, "emulated").limited  # a null device of the card itself
    # A driver that would spill is held, so that it fails as a card does.
    assert hold_for(budget.model_copy(update={"spills": "WSL"}), "measured").limited
    assert hold_for(Budget(), "measured (cpu)") is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"requested": "8GB", "card": "A"}, "8GB (A)"),
        ({"card": "A"}, "A"),
        ({"requested": "24GB"}, "24GB"),
        ({}, "this GPU"),
    ],
)
def test_budgets_have_words(fields, words):
    assert words_of(Budget(**fields)) == words


def test_the_budget_keeps_the_largest_debit():
    budget = Budget(total_bytes=1000, display_bytes=100)
    debit = Debit(
        context_bytes=50,
        step_bytes=200,
        end_bytes=150,
        counted_bytes=180,
        source="NVML, this process",
    )
    first = with_debit(budget, debit)
    assert (first.debit_bytes, first.limit_bytes) == (200, 700)
    smaller = debit.model_copy(update={"step_bytes": 10, "end_bytes": 10, "counted_bytes": 10})
    assert with_debit(first, smaller) == first
    assert with_debit(budget, None) == budget


def test_debits_are_known_from_runs_without_a_limit_and_from_trials():
    from records import record, trial

    from ffprof.records.audit import LedgerRow, Uncapped

    debit = Debit(context_bytes=5, step_bytes=20, source="NVML, this process")
    base = record([trial("a", 0), trial("b", 0)], workloads=("a", "b"))
    more = base.trials[1].model_copy(update={"debit": debit})
    made = base.model_copy(
        update={
            "ledger": {"a": LedgerRow(uncapped=Uncapped(debit=debit))},
            "trials": (base.trials[0], more),
        }
    )
    assert Debits.of(made) == {"a": 20, "b": 20}
