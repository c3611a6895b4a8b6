"""Builds records without running anything."""

from datetime import UTC, datetime

from ffprof.analysis.verdicts import judge
from ffprof.records.audit import (
    Conditions,
    LedgerRow,
    Loss,
    Machine,
    Memory,
    Plan,
    Record,
    Throughput,
    Trial,
)
from ffprof.records.recipe import Claim, Recipe

MIB = 1024 * 1024


def claim(challenger, baseline, metric):
    return Claim(
        id=f"{challenger}-{baseline}-{metric}",
        challenger=challenger,
        baseline=baseline,
        metric=metric,
        direction="lower" if metric == "memory" else "at_least",
    )


def recipe(**changes):
    fields = {
        "preset": "test",
        "backbone": "vgg8",
        "image_size": 16,
        "classes": 10,
        "batch": 8,
        "micro_batch": 4,
        "data": "digits",
        "threads": 1,
    }
    return Recipe.model_validate(fields | changes)


def trial(
    workload, number, *, outcome="ok", memory=100 * MIB, speed=100.0, loss=(2.0, 1.0), **more
):
    ok = outcome == "ok"
    finite = loss is not None and None not in loss
    fields = {
        "id": f"r{number:02d}-{workload}",
        "workload": workload,
        "method": workload.split("-")[0],
        "schedule": "full batch",
        "family": more.pop("family", workload.split("-")[0]),
        "micro_batch": 4,
        "round": number,
        "position": 0,
        "device": "cpu",
        "outcome": outcome,
        "evidence": "measured (cpu)",
        "memory": _memory(memory, ok, more.pop("memory_parts", None)),
        "throughput": Throughput(
            images_per_second=speed, step_seconds=(8 / speed,), data_wait_seconds=0.0
        )
        if ok
        else None,
        "loss": Loss(first=loss[0], last=loss[1], finite=finite, steps=5)
        if ok and more.get("evidence") != "estimated" and loss is not None
        else None,
        "conditions": Conditions(),
    }
    return Trial(**(fields | more))


def _memory(live, ok, parts):
    if parts is not None:
        return Memory(**parts)
    return Memory(live_tensor_peak_bytes=live) if ok else Memory()


def record(
    trials,
    *,
    claims=(),
    workloads=None,
    rounds=None,
    judged=True,
    ledger=None,
    families=None,
    evidence="measured (cpu)",
    machine=None,
    **changes,
):
    chosen = recipe(claims=tuple(claims), **changes)
    names = workloads or tuple(dict.fromkeys(t.workload for t in trials))
    made = Record(
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        ffprof="0",
        command="ffprof run",
        recipe=chosen,
        recipe_hash=chosen.digest(),
        plan=Plan(
            workloads=tuple(names),
            families=families or {},
            rounds=rounds or max((t.round for t in trials), default=0) + 1,
            trial_limit_seconds=60.0,
        ),
        machine=Machine(
            platform="Linux",
            cpu="A CPU",
            cpu_count=2,
            ram_bytes=8 * 1024 * MIB,
            versions={"torch": "2.14.1"},
            **(machine or {}),
        ),
        evidence=evidence,
        ledger={name: LedgerRow(facts=facts) for name, facts in (ledger or {}).items()},
        trials=tuple(trials),
    )
    return made.model_copy(update={"verdicts": judge(made)}) if judged else made
