"""``ffprof.estimate`` on the null device: what is refused before it, and what is made of a record.

The steps themselves run in tests/integration/test_engine.py.
"""

import threading

import pytest

import ffprof
from ffprof.engine import Emulation
from ffprof.errors import UsageError
from ffprof.records.script import ScriptEstimate, ScriptRanOut
from ffprof.units import GIB, MIB


def build(device):
    return lambda: None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"engine": "nul"}, "engine='nul'; write one of auto, trace, null"),
        ({"workspaces": "none"}, "the null device counts all"),
        ({"steps": 1}, "steps=1; take at least 2"),
        ({"steps": "two"}, "steps='two'; give a whole number"),
        ({"time_limit": -1}, "--time-limit -1 is no time to wait for"),
        ({"time_limit": "60"}, "time_limit='60'; give a number of seconds"),
        ({"allocator": "x"}, "allocator settings 'x'"),
        ({"capacity_bytes": 0}, "a capacity of 0 bytes"),
        ({"card": "RTX 99"}, "no profile of a card 'RTX 99'"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_runs(wrong, told):
    with pytest.raises(UsageError) as raised:
        ffprof.estimate(build, **({"engine": "null"} | wrong))
    assert told in str(raised.value)


def test_what_cannot_be_carried_is_told():
    lock = threading.Lock()
    with pytest.raises(UsageError) as raised:
        ffprof.estimate(lambda device: lambda: lock.acquire(), engine="null")
    assert "<lambda> cannot be carried into another process (cannot pickle '_thread.lock'" in str(
        raised.value
    )
    assert str(raised.value).endswith("make that inside of build(device)")


def record(**more):
    fields = {
        "command": ("build",), "status": "fits", "steps": 2, "steps_requested": 2, "processes": 1,
        "seconds": 1.0, "card": None, "device_name": "a GPU without a limit",
        "budget_bytes": 2**40, "capacity_bytes": 2**40 - GIB,
        "overhead_bytes": (100 * MIB, 200 * MIB, 300 * MIB), "allocated_peak_bytes": 4 * GIB,
        "reserved_peak_bytes": 5 * GIB, "cold_allocated_peak_bytes": 4 * GIB + 1,
        "cold_reserved_peak_bytes": 5 * GIB,
    }  # fmt: skip
    return ScriptEstimate(**fields | more)


def test_other_budgets_are_judged_by_the_peaks():
    found = Emulation(record=record())
    assert found.fit(8 * GIB).answer == "fits"
    assert found.fit(5 * GIB).answer == "too close to call"
    assert found.fit(4 * GIB).answer == "does not fit"
    assert found.fit("RTX 4060").answer == "fits"
    with pytest.raises(UsageError, match="a budget of None"):
        found.fit()
    tried = Emulation(record=record(card="GeForce RTX 4060", fit="too close to call"))
    assert tried.fit().answer == "too close to call"
    short = Emulation(record=record(alloc_retries=1))
    with pytest.raises(UsageError, match="memory was short in the emulation"):
        short.fit(8 * GIB)


def test_it_prints_itself():
    assert str(Emulation(record=record(conditional=True))) == (
        "emulated peaks: 4.00 GiB allocated, 5.00 GiB reserved, 100 MiB to 300 MiB of the process; "
        "conditional: the step read values, which are zeros here"
    )
    out = ScriptRanOut(
        message="m", place={}, asked_bytes=1, allocated_bytes=2, reserved_bytes=3, device=0
    )
    found = Emulation(
        record=record(
            status="out of memory",
            message="CUDA out of memory.",
            ran_out=out,
            allocated_peak_bytes=None,
            reserved_peak_bytes=None,
        )
    )
    assert found.ran_out
    assert found.allocated_peak_bytes == 4 * GIB + 1
    assert str(found).endswith("; CUDA out of memory.")
    assert repr(found).startswith("<ffprof: emulated peaks: ")
    assert "It runs out of memory." in found._repr_html_()
