"""Records for checks: of a processor, of a GPU and estimated, with what a test changes."""

import random

from records import MIB, record, trial

from ffprof.records.audit import Budget, LedgerRow, Memory, Uncapped

ROWS = ("one", "two", "three", "four")


def cpu(rounds=1, *, rows=ROWS, memory=None, speed=None, noise=0.0, seed=0, machine=None, **more):
    """A measured record; ``memory`` in bytes and ``speed`` as a factor by row, noisy by process."""
    memory, speed, chance = memory or {}, speed or {}, random.Random(seed)
    trials = [
        trial(
            name,
            number,
            memory=memory.get(name, 100 * MIB),
            speed=100.0 * (index + 1) * speed.get(name, 1.0) * (1 + chance.gauss(0, noise)),
        )
        for number in range(rounds)
        for index, name in enumerate(rows)
    ]
    made = record(trials, judged=False, **more)
    if machine is not None:
        made = made.model_copy(update={"machine": made.machine.model_copy(update=machine)})
    return made


def gpu(
    parts, rounds=1, *, rows=("one",), evidence="measured", uncapped=None, budget=None, speed=None,
    noise=0.0, seed=0,
):  # fmt: skip
    """A record of a GPU; ``parts`` are the memory's fields, or a function of the round to them."""
    speed, chance = speed or {}, random.Random(seed)
    made = record(
        [
            trial(
                name,
                number,
                device="cuda",
                evidence=evidence,
                memory_parts=parts(number) if callable(parts) else parts,
                speed=100.0 * (index + 1) * speed.get(name, 1.0) * (1 + chance.gauss(0, noise)),
            )
            for number in range(rounds)
            for index, name in enumerate(rows)
        ],
        judged=False,
        evidence=evidence,
    )
    ledger = {name: LedgerRow(uncapped=uncapped) for name in rows} if uncapped else {}
    return made.model_copy(update={"ledger": ledger, "budget": budget or Budget()})


def estimated(*, rows=("one",), outcome="ok", fit="fits", ranged=None, ledger=None, **memory):
    """An estimated record of one round."""
    parts = {
        "allocated_peak_bytes": 1000 * MIB,
        "reserved_peak_bytes": 2000 * MIB,
        "fit": fit,
        "process_range_bytes": ranged or (2300 * MIB, 2600 * MIB),
    }
    made = record(
        [
            trial(
                name, 0, device="cuda", evidence="estimated", outcome=outcome,
                memory_parts=parts | memory, throughput=None,
            )
            for name in rows
        ],
        judged=False,
        evidence="estimated",
    )  # fmt: skip
    return made.model_copy(update={"ledger": {name: ledger or LedgerRow() for name in rows}})


def without_limit(reserved):
    return Uncapped(memory=Memory(reserved_peak_bytes=reserved))


def with_outcome(made, name, outcome, message=""):
    """The record with all trials of a row ended otherwise."""
    changed = tuple(
        one
        if one.workload != name
        else trial(
            name, one.round, outcome=outcome, message=message, device=one.device,
            evidence=one.evidence,
        )
        for one in made.trials
    )  # fmt: skip
    return made.model_copy(update={"trials": changed})


def with_outcomes(made, name, outcomes):
    """The record with the trials of a row ended so, round by round; ok is left as it was."""
    lost = {
        number: trial(
            name, number, outcome=outcome, device=made.trials[0].device, evidence=made.evidence
        )
        for number, outcome in enumerate(outcomes)
        if outcome != "ok"
    }
    changed = tuple(
        lost.get(one.round, one) if one.workload == name else one for one in made.trials
    )
    return made.model_copy(update={"trials": changed})


def without_trial(made, name, number):
    """The record before this trial was made."""
    kept = tuple(t for t in made.trials if (t.workload, t.round) != (name, number))
    return made.model_copy(update={"trials": kept})


def without_loss(made, name):
    """The record of a row whose step reports no loss."""
    return _changed(made, name, lambda one: {"loss": None})


def disturbed(made, name, number):
    """The record with something that spoilt one trial."""

    def change(one):
        if one.round != number:
            return {}
        said = {"disturbances": ("another process used the GPU",)}
        return {"conditions": one.conditions.model_copy(update=said)}

    return _changed(made, name, change)


def unread(made, name, field, why=""):
    """The record of a row of which one figure of memory was not read, in any round."""

    def change(one):
        reasons = {field: why} if why else {}
        return {"memory": one.memory.model_copy(update={field: None, "unread": reasons})}

    return _changed(made, name, change)


def _changed(made, name, change):
    trials = tuple(
        one.model_copy(update=change(one)) if one.workload == name else one for one in made.trials
    )
    return made.model_copy(update={"trials": trials})
