"""What benchmarks/gpu/on_gpu.sh goes by: whether a record is complete, what estimates come to."""

import sys
import time
from pathlib import Path

import pytest
from frontiers import capacity, frontier
from records import recipe, record, trial

from ffprof.errors import RecordError
from ffprof.experiments.selection import all_workloads
from ffprof.hardware.machine import Probe
from ffprof.harness.process.child import Ending, start_context
from ffprof.records.store import save

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks" / "gpu"))

import estimates_on_gpu
import found_gpu
from estimates_on_gpu import CutError, compare, concluded, key, to_do
from finished import lacking


@pytest.mark.parametrize(
    ("made", "lacks"),
    [
        (frontier(capacities=(capacity(),)), ""),
        (frontier(capacities=(capacity(proven=False, message="cuDNN fails"),)), ""),
        (frontier(capacities=(capacity(),), notes=("a", "stopped early: time")), "stopped early"),
        (frontier("frontier"), ""),
        (frontier("frontier", stopped="the time limit is over"), "the time limit is over"),
    ],
)
def test_a_frontier_or_search_that_was_cut_is_not_complete(tmp_path, made, lacks):
    save(made, tmp_path / "one.json")
    told = lacking(tmp_path / "one.json")
    assert lacks in told
    assert bool(told) == bool(lacks)


@pytest.mark.parametrize(("rounds", "lacks"), [(1, ""), (2, "1 trials are missing")])
def test_an_audit_with_trials_missing_is_not_complete(tmp_path, rounds, lacks):
    made = record([trial("bp", 0)])
    plan = made.plan.model_copy(update={"rounds": rounds, "workloads": ("bp",)})
    save(made.model_copy(update={"plan": plan}), tmp_path / "audit-1.json")
    assert lacking(tmp_path / "audit-1.json") == lacks


def test_what_is_no_record_is_an_error(tmp_path):
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(RecordError):
        lacking(tmp_path / "one.json")


def row(workload, off, precision="fp32"):
    """Estimated ``off`` percent above what was measured; without figures if None."""
    ours = {"allocated": 1000 + 10 * off, "reserved": 1000} if off is not None else None
    theirs = {"allocated": 1000, "reserved": 1000} if off is not None else None
    return {
        "precision": precision, "workload": workload, "estimated": ours, "measured": theirs,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "untried", "code", "said"),
    [
        ([row("bp", 0.9), row("asge", -1.0)], 0, 0, "fp32 allocated: 2 of 2 within 1 %"),
        ([row("bp", 0.9), row("asge", -1.1)], 0, 5, "bounds missed: fp32 allocated by asge"),
        ([row("bp", 2.9, "bf16"), row("asge", None, "bf16")], 0, 0, "1 without figures"),
        ([row("bp", None)], 0, 1, "nothing could be measured"),
        ([row("bp", 5.0)], 3, 75, "3 rows are still to be tried"),
        ([], 2, 75, "2 rows are still to be tried"),
    ],
)
def test_a_missed_bound_a_lack_of_time_and_a_failure_have_codes_of_their_own(
    rows, untried, code, said
):
    found, told = concluded(rows, untried, "A GPU")
    assert found == code
    assert said in told


def test_rows_never_tried_come_first_and_those_without_figures_take_turns():
    shipped, base = all_workloads()[0], recipe()
    names = [one.id for one in shipped if not one.objection(base)]
    rows = [row(names[2], None), row(names[0], 0.0), row(names[1], None)]
    left = [(precision, one.id) for precision, one, _ in to_do(rows, ["fp32"], shipped, base)]
    assert ("fp32", names[0]) not in left
    assert left[-2:] == [key(rows[0]), key(rows[2])]
    assert {name for _, name in left} == set(names[1:])


def test_a_row_gets_what_is_left_and_is_not_kept_when_that_is_over(monkeypatch):
    given = []

    def slow(context, child, arguments, limit, **more):
        given.append(limit)
        return Ending(kind="timeout", messages=(), reason="stopped")

    monkeypatch.setattr(found_gpu, "run_child", slow)
    probed = Probe(cuda=True, gpu_total_bytes=8 << 30, capability=(9, 0))
    one = all_workloads()[0][0]
    context = start_context("spawn")
    with pytest.raises(CutError):
        compare(context, context, probed, one, recipe(), time.monotonic() + 30)
    assert 29 < given[0] <= 30
    with pytest.raises(CutError):
        compare(context, context, probed, one, recipe(), time.monotonic() - 1)
    assert len(given) == 1
    assert estimates_on_gpu.limit_until(time.monotonic() + 1000) == estimates_on_gpu.ONE_SECONDS
