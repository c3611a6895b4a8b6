"""Builds frontiers of one method whose trials went wrong in part."""

from datetime import UTC, datetime

from records import MIB, recipe, trial

from ffprof.analysis.frontier.standings import settle
from ffprof.records.audit import Budget, Debit, Machine
from ffprof.records.frontier import FrontierRecord, Guess, Point


def run(number, rate=100.0, *, memory=100, outcome="ok", beyond=0, spoilt=(), message="", id=""):
    debit = Debit(context_bytes=1, source="NVML, this process", exceeded_bytes=beyond * MIB)
    made = trial(
        "a", number, id=id or f"t{rate}-{memory}-{number}", outcome=outcome, speed=rate,
        evidence="emulated", device="cuda", debit=debit, message=message,
        memory_parts={"allocated_peak_bytes": memory * MIB} if outcome == "ok" else {},
    )  # fmt: skip
    told = (*spoilt, "the process took more than the card has") if beyond else tuple(spoilt)
    conditions = made.conditions.model_copy(update={"disturbances": told, "wall_seconds": 10.0})
    return made.model_copy(update={"conditions": conditions})


def point(size, *trials, fit="fits", outcome="ok", memory=None, rate=None, batch=64, **more):
    return Point(
        id=f"a@{size}", workload="a", method="a", family="a", schedule="accumulated", batch=batch,
        micro_batch=size, precision="fp32", memory_format="contiguous", standing="not run",
        guess=Guess(
            outcome=outcome, fit=fit, memory_bytes=(memory or size * 10) * MIB,
            images_per_second=rate or 10.0 * size,
        ),
        trials=trials, **more,
    )  # fmt: skip


def settled(*points, evidence="emulated", **changes):
    return settle(
        FrontierRecord(
            kind="frontier", created=datetime(2026, 1, 2, tzinfo=UTC), ffprof="0",
            command="ffprof frontier", recipe=recipe(batch=64, micro_batch=8), rounds=3,
            machine=Machine(platform="L", cpu="C", cpu_count=1, ram_bytes=1, versions={}),
            budget=Budget(requested="8GB", card="A card", total_bytes=8000 * MIB),
            evidence=evidence, points=points, guess_seconds=1.0, **changes,
        )
    )  # fmt: skip
