"""Statuses of a script, from what its processes told."""

import pytest
from script_runs import OVERHEAD, ROOM, estimated, out_of_memory, ran, run_of

from ffprof.cli.output.script import EXIT_CODES, NOT_COVERED, exit_code_of
from ffprof.experiments.script.outcome import answer, may_fit, sure_to_fit
from ffprof.nulldevice import DeviceReport
from ffprof.nulldevice.script.report import (
    DevicePeaks,
    Place,
    Problem,
    Read,
    ScriptReport,
)
from ffprof.report.estimate.script import script_document
from ffprof.units import GIB, MIB


def on(device, reserved):
    return DevicePeaks(
        device=device, cold_allocated=1, cold_reserved=1, allocated=reserved, reserved=reserved
    )


def report_of(*peaks):
    return ScriptReport(
        pid=1, python="p", steps=3, finished=True, used_cuda=True, peaks=tuple(peaks)
    )


def test_of_several_cards_the_worst_decides():
    roomy, full = on(0, GIB), on(1, ROOM.least)
    assert sure_to_fit(run_of(report_of(roomy, full)), ROOM)
    assert not sure_to_fit(run_of(report_of(roomy, on(1, ROOM.least + 1))), ROOM)
    # Two processes on one card: both, and a context more.
    half = on(0, (ROOM.least - OVERHEAD.high_bytes) // 2)
    assert sure_to_fit(run_of(report_of(half), report_of(half)), ROOM)
    assert not sure_to_fit(run_of(report_of(half), report_of(half, full), report_of(full)), ROOM)
    found = estimated(run_of(report_of(roomy), report_of(full, roomy)))
    assert [(one.device, one.processes) for one in found.by_device] == [(0, 2), (1, 1)]
    assert found.by_device[0].reserved_peak_bytes == 2 * GIB
    low, _, high = found.overhead_bytes
    assert found.by_device[0].process_range_bytes == (2 * (GIB + low), 2 * (GIB + high))
    assert found.process_range_bytes == (ROOM.least + low, ROOM.least + high)


def test_a_process_that_never_steps_holds_what_it_holds():
    """As one that only predicts, beside the one that trains."""
    actor = DevicePeaks(
        device=0, cold_allocated=5 * GIB, cold_reserved=6 * GIB, allocated=None, reserved=None
    )
    (card,) = estimated(run_of(report_of(on(0, GIB)), report_of(actor))).by_device
    assert card.allocated_peak_bytes == 6 * GIB
    assert card.reserved_peak_bytes == 7 * GIB


def test_the_room_allows_for_the_process_and_for_the_error():
    assert ROOM.most > ROOM.likely > ROOM.least
    assert ROOM.likely == 8 * GIB - 700 * MIB
    assert ROOM.least < 8 * GIB - 1300 * MIB
    assert ROOM.most > 8 * GIB - 400 * MIB


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (ran(), None, "fits"),
        (ran(finished=False, steps=1), None, "fits"),  # a short script that ended well
        (ran(7 * GIB), ran(), "fits"),
        (ran(7 * GIB), out_of_memory(GIB, 6 * GIB), "too close to call"),
        (ran(retries=1), None, "too close to call"),  # whose reserved peak was limited
        (out_of_memory(GIB, 6 * GIB), ran(), "too close to call"),
        (out_of_memory(GIB, 6 * GIB), out_of_memory(GIB, 6 * GIB), "out of memory"),
        (out_of_memory(4 * GIB, 6 * GIB), None, "out of memory"),
        (ran(status=1, finished=False), None, "failed"),
        (ran(late=True, status=None, finished=False), None, "incomplete"),
        (ran(steps=0, finished=False), None, "incomplete"),
        (run_of(status=1), None, "failed"),
        (run_of(), None, "incomplete"),
    ],
)
def test_statuses(first, second, status):
    assert answer(first, second, ROOM) == status


def test_when_a_second_run_is_needed():
    assert sure_to_fit(ran(ROOM.least), ROOM)
    assert not sure_to_fit(ran(ROOM.least + 1), ROOM)
    assert not sure_to_fit(ran(retries=1), ROOM)
    assert may_fit(out_of_memory(ROOM.most - GIB, GIB), ROOM)
    assert not may_fit(out_of_memory(ROOM.most - GIB + 1, GIB), ROOM)


def test_an_error_that_was_caught_is_told_by_the_exit_status():
    report = out_of_memory(GIB, 6 * GIB).reports[0]
    caught = ScriptReport(pid=1, python="p", steps=0, ran_out=report.ran_out)
    assert run_of(caught, status=1).out_of_memory
    assert not run_of(caught, status=0).out_of_memory


def test_what_is_recorded():
    user = Place(file="/x.py", line=3, text="loss.item()")
    scaler = Read(what="a number", count=2, place=user, inner="torch/amp/grad_scaler.py")
    found = estimated(ran(reads=(scaler,)))
    assert (found.values_read, found.conditional) == (2, False)
    found = estimated(ran(reads=(scaler, Read(what="a number", count=3, place=user))))
    assert (found.values_read, found.conditional) == (5, True)
    both = run_of(*ran(reads=(scaler,)).reports, *ran(reads=(scaler,)).reports)
    assert [one.count for one in estimated(both).reads] == [4]  # each line once
    low, _, high = found.overhead_bytes
    assert found.process_range_bytes == (GIB + low, GIB + high)
    assert found.coverage.share == 1
    counts = {"launches": {"k": 3}, "modelled": {"convolution": 3}}
    for kind, name in (("unknown", "cuWhat"), ("assumed", "cudnnGetRNNTempSpaceSizes")):
        device = DeviceReport(**counts, **{kind: {name: 2}})
        found = estimated(run_of(*ran().reports, device=device))
        assert found.coverage.share == 0.75
        assert getattr(found.coverage, kind) == {name: 2}
        assert found.coverage.modelled == {"convolution": 3}
    known = estimated(run_of(*ran().reports, device=DeviceReport(**counts)))
    assert known.coverage.share == 1


def test_strict_refuses_what_was_assumed_and_names_it(capfd):
    def code(status="fits", **counts):
        device = DeviceReport(launches={"k": 3}, **counts)
        found = estimated(run_of(*ran().reports, device=device), status)
        assert exit_code_of(found, strict=False) == EXIT_CODES[status]
        return exit_code_of(found, strict=True)

    assert code(modelled={"workspace of a cuDNN convolution": 9}) == 0
    assert capfd.readouterr().err == ""
    assert code(assumed={"cudnnGetRNNTempSpaceSizes": 2}) == NOT_COVERED
    (line,) = capfd.readouterr().err.splitlines()
    assert "60.00 % of all calls" in line
    assert "cudnnGetRNNTempSpaceSizes (assumed)" in line
    many = {f"cuCall{number}": 1 for number in range(5)}
    assert code("out of memory", unknown=many) == NOT_COVERED
    assert "cuCall2 (not known) and 2 more" in capfd.readouterr().err
    assert code("failed", unknown=many) == EXIT_CODES["failed"]


def test_the_report_names_what_was_assumed_or_is_not_known():
    counts = {"assumed": {"cufftGetSize": 1}, "unknown": {"cuWhat": 2}, "launches": {"k": 3}}
    device = DeviceReport(**counts, modelled={"workspace of a cuDNN convolution": 9})
    document = script_document(estimated(run_of(*ran().reports, device=device)), 80)
    block = next(one for one in document.blocks if one.heading == "Coverage")
    assert block.lines == ("not known: cuWhat, 2 times", "assumed: cufftGetSize, 1 time")
    assert "80.00 % of all calls are answered without an assumption" in block.text[0]
    assert "9 sizes of workspaces are those of the estimator's model" in block.text[0]
    known = estimated(run_of(*ran().reports, device=DeviceReport(launches={"k": 3})))
    (text,) = next(b for b in script_document(known, 80).blocks if b.heading == "Coverage").text
    assert text.endswith("all calls are known to the device, and nothing is assumed.")


def test_messages_say_what_happened():
    assert estimated(run_of(status=7), "failed").message == "exit status 7: the last line"
    assert estimated(run_of(status=-9), "failed").message == "killed by SIGKILL: the last line"
    late = ran(late=True, status=None, finished=False, steps=1)
    assert "after 1 step; --time-limit" in estimated(late, "incomplete").message
    problem = Problem(kind="ValueError", message="a\nb", place=Place(file="/x.py", line=2))
    found = estimated(ran(status=1, finished=False, problem=problem), "failed")
    assert (found.message, found.failed_at.line) == ("ValueError: a b", 2)
