"""What rides along in a script, on made-up histories: no device is needed."""

import json

import pytest

pytest.importorskip("torch")

from ffprof.nulldevice.script.holders import GRADIENTS, PARAMETERS, STATE, Marks, held_at_peak
from ffprof.nulldevice.script.peaks import _highest
from ffprof.nulldevice.script.places import of_library, place_of
from ffprof.nulldevice.script.report import (
    DevicePeaks,
    Held,
    HeldLine,
    HeldModule,
    OperatorRuns,
    Place,
    Problem,
    RanOut,
    Read,
    ScriptReport,
    StepOperators,
    read_reports,
    write_report,
)


def new(address, size, line=1, file="/home/me/train.py"):
    frames = [{"filename": file, "line": line, "name": "main"}] if file else []
    return {"action": "alloc", "addr": address, "size": size, "frames": frames}


def old(address):
    return {"action": "free_requested", "addr": address, "size": 0, "frames": []}


KIB = 1024
# A parameter; a first step that is higher than the second; the second, with the gradient at an
# address that an activation had.
HISTORY = [
    new(1, 4 * KIB, 1), new(2, 90 * KIB, 2), new(3, 4 * KIB, 3), old(2), new(4, 8 * KIB, 4),
    old(3),
    new(3, 6 * KIB, 5), new(2, 4 * KIB, 6, file=""), old(3), old(2),
]  # fmt: skip
MARKS = Marks(
    kinds=[
        (4, {1: PARAMETERS, 3: GRADIENTS}),
        (4, {1: PARAMETERS, 4: STATE}),
        (6, {1: PARAMETERS, 2: GRADIENTS, 4: STATE}),
    ],
    ends=[4],
    steady=(4, 1),
)


def test_the_peak_of_later_steps_is_by_category_and_by_line():
    held = held_at_peak(HISTORY, MARKS, 0, 23 * KIB)
    assert held.by_category == {
        "parameters": 4 * KIB, "gradients": 4 * KIB, "optimizer state": 8 * KIB,
        "activations": 6 * KIB,
    }  # fmt: skip
    assert held.slack == KIB
    lines = {one.place.line: dict(one.by_category) for one in held.lines}
    assert lines[5] == {"activations": 6 * KIB}
    assert lines[0] == {"gradients": 4 * KIB}
    assert next(one.place.function for one in held.lines if not one.place.line) == "backward"


def test_without_later_steps_it_is_the_peak_of_all():
    held = held_at_peak(HISTORY, Marks(kinds=MARKS.kinds), 0, 98 * KIB)
    assert held.by_category["activations"] == 90 * KIB
    assert held.by_category["gradients"] == 4 * KIB


def test_out_of_memory_is_looked_at_where_it_happened():
    history = [*HISTORY[:5], {"action": "oom", "size": 1, "frames": []}, *HISTORY[5:]]
    held = held_at_peak(history, MARKS, 0)
    assert sum(held.by_category.values()) == (4 + 4 + 8) * KIB


def test_nothing_held_is_none():
    assert held_at_peak([], Marks(), 0, 0) is None


def test_the_line_is_the_users_or_else_that_of_the_library():
    json_file = json.__file__
    assert of_library(json_file) and of_library("/x/site-packages/a.py")
    assert not of_library("/home/me/torch/train.py")
    lines = [(json_file, 1, "dumps"), ("/home/me/torch/train.py", 7, "main")]
    assert place_of(lines).line == 7
    assert place_of(lines[:1]).file == json_file
    assert place_of([]) == Place()


def test_peaks_that_were_reset_unseen_are_put_back():
    now = {"allocated_bytes": {"all": {"peak": 3, "current": 2}}, "num_ooms": 1}
    before = {"allocated_bytes": {"all": {"peak": 5, "current": 9}}, "num_ooms": 0}
    assert _highest(now, before) == {
        "allocated_bytes": {"all": {"peak": 5, "current": 2}}, "num_ooms": 1,
    }  # fmt: skip
    assert _highest(now, None) is now


def test_reports_are_read_as_they_were_written(tmp_path):
    place = Place(file="/x.py", line=3, function="main", text="a")
    full = ScriptReport(
        pid=7,
        python="/python",
        steps=2,
        used_cuda=True,
        peaks=(DevicePeaks(device=0, cold_allocated=1, cold_reserved=2),),
        reads=(Read(what="a number", count=1, place=place),),
        held=Held(
            device=0,
            by_category={"other": 1},
            lines=(HeldLine(place=place, by_category={"other": 1}),),
            slack=0,
            modules=(HeldModule(module="a.b", by_category={"other": 1}),),
        ),
        operators=StepOperators(
            rows=(
                OperatorRuns(
                    name="aten.mm", phase="forward", device=0, flops=1, read_bytes=2,
                    written_bytes=3, element_bytes=4,
                ),
            ),
            count=1, complete=True, tf32_products=False, tf32_convolutions=True,
        ),
        problem=Problem(kind="E", message="m", place=place),
        ran_out=RanOut(device=0, asked=1, allocated=2, reserved=3, count=1, place=place),
    )  # fmt: skip
    write_report(ScriptReport(pid=8, python="/python"), tmp_path)
    write_report(full, tmp_path)
    assert read_reports(tmp_path) == (full, ScriptReport(pid=8, python="/python"))
    write_report(full, tmp_path / "gone")  # silent
