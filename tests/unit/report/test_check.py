"""The report of a check: what differs reads differently, and a limit is one that decided."""

from gated import ROWS, cpu, without_trial
from records import MIB

from ffprof.analysis.gates.check import check
from ffprof.analysis.gates.result import BaselineCheck
from ffprof.analysis.gates.thresholds import Thresholds
from ffprof.errors import UnmeasuredError
from ffprof.report.check import checked_document
from ffprof.report.exporters.check import code_of


def told(before, after, rules=None, **more):
    return BaselineCheck(
        baseline_file="b.json",
        current_file="n.json",
        baseline=before,
        current=after,
        result=check(before, after, rules),
        **more,
    )


def row(found, workload, metric):
    rows = checked_document(found, everything=True).blocks[0].rows
    (one,) = [cells for cells in rows if cells[1:3] == (workload, metric)]
    return one


def test_a_limit_that_was_passed_by_a_byte_does_not_look_kept():
    found = told(cpu(memory={"two": 101 * MIB}), cpu(memory={"two": 106_435_707}))
    status, _, _, before, now, limit, *_ = row(found, "two", "live tensors")
    assert status == "regressed"
    assert (before, now, limit) == ("105,906,176 B", "106,435,707 B", "106,435,706 B")
    assert row(found, "one", "live tensors")[3:5] == ("100 MiB", "100 MiB")


def test_what_got_better_has_no_limit():
    base = cpu(9, noise=0.003, seed=1)
    found = told(base, cpu(9, noise=0.003, seed=2, speed={"two": 1.5}, memory={"one": MIB}))
    assert row(found, "two", "throughput")[0] == row(found, "one", "live tensors")[0] == "improved"
    assert row(found, "two", "throughput")[5] == row(found, "one", "live tensors")[5] == "-"
    assert row(found, "three", "throughput")[3:6:2] == ("1.000x", "0.970x")


def test_a_baseline_that_is_good_and_judges_nothing_says_so():
    found = told(cpu(), cpu(), Thresholds.model_validate({"live": {"gate": False}}))
    assert found.finding == "nothing was judged"


def test_a_result_that_is_not_complete_asks_to_be_finished():
    base = cpu(5, noise=0.003, seed=1)
    found = told(base, without_trial(base, ROWS[0], 4))
    assert found.finding == "inconclusive"
    lines = [line for one in checked_document(found).blocks for line in one.lines]
    assert "finish the new result: ffprof run --resume n.json" in lines


def test_a_refused_baseline_is_not_said_to_be_written():
    refused = UnmeasuredError("the baseline is not updated: one was not measured", "fix it")
    found = told(cpu(), cpu(), refused=refused)
    lines = [line for one in checked_document(found).blocks for line in one.lines]
    assert str(refused) in lines
    assert not any("holds the new result" in line for line in lines)
    assert code_of([found, told(cpu(), cpu(), updated=True)]) == 4
