"""Builds records of learning studies without training anything."""

from datetime import UTC, datetime

import numpy as np
from records import MIB, recipe

from ffprof.records.audit import Machine, Memory
from ffprof.records.learning import (
    Epoch,
    LearningPlan,
    LearningRecord,
    LearningRun,
    RunSlot,
    Score,
    Task,
    Training,
    learning_digest,
)
from ffprof.records.trial import Energy

IMAGES = 10_000
TASKS = (Task(classes=10),)


def score(accuracy, images=IMAGES, coarse=None, others=None):
    rules = {"last": accuracy, **(others or {})}
    return Score(
        images=images,
        accuracy=rules,
        loss={"last": 1.5 - accuracy},
        coarse_accuracy={} if coarse is None else {"last": coarse},
    )


def run(workload, accuracy, *, task=0, seed=0, outcome="ok", epochs=4, seconds=10.0, **more):
    """A run that climbs to its accuracy (a share); one that did not end well has two epochs."""
    ok = outcome == "ok"
    done = epochs if ok else 2
    test = more.pop("test", None) or score(accuracy, more.pop("images", IMAGES))
    fields = {
        "id": RunSlot(workload=workload, task=task, seed=seed).id,
        "workload": workload,
        "method": workload.split("-")[0],
        "schedule": "full batch",
        "family": workload.split("-")[0],
        "task": task,
        "seed": seed,
        "micro_batch": 8,
        "device": "cpu",
        "outcome": outcome,
        "message": "" if ok else f"{outcome}, and why",
        "rules": tuple(test.accuracy),
        "epochs": tuple(
            Epoch(
                number=number,
                images=1000,
                learning_rate=1e-3,
                loss=2.0 / number,
                validation=score(accuracy * (1 - 0.5**number), 100),
                seconds=seconds,
                data_seconds=0.1,
            )
            for number in range(1, done + 1)
        ),
        "test": test if ok else None,
        "memory": Memory(live_tensor_peak_bytes=more.pop("memory", 100 * MIB)) if ok else Memory(),
        "training_images": 1000,
    }
    return LearningRun(**(fields | more))


def energy(joules):
    return Energy(joules=joules, images=4000, seconds=40.0, source="counter")


def study(
    runs, *, workloads=None, seeds=None, tasks=None, swept="", tuning=0, training=None, **changes
):
    """A record of these runs; its plan is what they span unless it is given."""
    chosen, trained = recipe(), Training(**({"epochs": 4} | (training or {})))
    fields = {
        "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "ffprof": "0",
        "command": "ffprof learn",
        "recipe": chosen,
        "training": trained,
        "recipe_hash": learning_digest(chosen, trained),
        "plan": LearningPlan(
            workloads=workloads or tuple(dict.fromkeys(r.workload for r in runs)),
            seeds=seeds or tuple(dict.fromkeys(r.seed for r in runs)),
            tasks=tasks or (Task(classes=10),),
            swept=swept,
            tuning=tuning,
        ),
        "machine": Machine(
            platform="Linux",
            cpu="A CPU",
            cpu_count=2,
            ram_bytes=8 * 1024 * MIB,
            versions={"torch": "2.14.1"},
        ),
        "evidence": "measured (cpu)",
        "runs": tuple(runs),
    }
    return LearningRecord(**(fields | changes))


def of_percents(table, *, noise=0.0, seeds=5, tasks=TASKS, swept="", **more):
    """A study of ``{workload: percent, or a percent for each task}``, with noise of so many points.

    The noise of a run is a function of its seed, task and workload.
    """
    rng = np.random.default_rng(0)
    runs = []
    for task in range(len(tasks)):
        for name, percents in table.items():
            percent = percents if isinstance(percents, float) else percents[task]
            for seed in range(seeds):
                reads = percent + noise * rng.normal()
                runs.append(run(name, round(reads / 100, 4), task=task, seed=seed, **more))
    return study(runs, tasks=tuple(tasks), swept=swept)


def sweep(table, classes, **more):
    """A study over numbers of classes."""
    return of_percents(table, tasks=[Task(classes=k) for k in classes], swept="classes", **more)
