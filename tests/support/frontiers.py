"""Builds records of frontiers and capacities without running anything."""

from datetime import UTC, datetime

from records import MIB, recipe

from ffprof.records.audit import Budget, Machine
from ffprof.records.frontier import Capacity, FrontierRecord, Point, Tried


def tried(size, outcome="ok", evidence="emulated", **more):
    return Tried(size=size, outcome=outcome, evidence=evidence, **more)


def capacity(workload="a", **changes):
    runs = (tried(8, reserved_bytes=100 * MIB, process_bytes=500 * MIB), tried(9, "oom"))
    fields = {
        "workload": workload,
        "method": workload.split("-")[0],
        "family": workload.split("-")[0],
        "grown": "micro-batch",
        "largest": 8,
        "first_failing": 9,
        "proven": True,
        "proposed": 8,
        "tried": runs,
    }
    return Capacity(**(fields | changes))


def point(workload="a", size=8, **changes):
    fields = {
        "id": f"{workload}@{size}",
        "workload": workload,
        "method": workload.split("-")[0],
        "family": workload.split("-")[0],
        "schedule": "accumulated",
        "batch": 8,
        "micro_batch": size,
        "precision": "fp32",
        "memory_format": "contiguous",
        "standing": "not run",
    }
    return Point(**(fields | changes))


def frontier(kind="capacity", **changes):
    fields = {
        "kind": kind,
        "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "ffprof": "0",
        "command": "ffprof run --max-batch",
        "recipe": recipe(),
        "budget": Budget(
            requested="8GB", card="A card", total_bytes=8000 * MIB, limit_bytes=8000 * MIB
        ),
        "machine": Machine(
            platform="Linux",
            cpu="A CPU",
            cpu_count=2,
            ram_bytes=8 * 1024 * MIB,
            gpu="A GPU",
            versions={"torch": "2.14.1"},
        ),
        "evidence": "emulated",
    }
    if kind == "capacity":
        fields["capacities"] = (capacity(),)
    else:
        fields["points"] = (point(),)
    return FrontierRecord(**(fields | changes))
