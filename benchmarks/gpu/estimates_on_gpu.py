"""Is what ffprof estimates what a GPU takes? Every shipped workload, estimated and then run.

Each workload is estimated in one child and run in another on the GPU, without a limit: warm-up and
two steady steps. Compared are the steady peaks, allocated and reserved, and what the process takes
beside the allocator with the estimated range. Figures are kept after every run, so that the script
goes on where it stopped; rows that gave no figures are tried again after those never tried.

    python benchmarks/gpu/estimates_on_gpu.py --out results/gpu/estimates

Beside the figures (estimates-PRESET.json) lies what they come to (estimates-PRESET.txt). A missed
bound is a finding, not a failure to measure, so it has an exit code of its own: 0 every row was
tried and all figures are within their bounds; 5 every row was tried and a bound is missed; 75 the
time was over, call it again; 1 nothing could be measured; 3 there is no GPU.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from found_gpu import estimate, target_of

from ffprof.experiments.attempt import most_taken, probe, uncapped_from
from ffprof.experiments.selection import all_workloads, change_recipe
from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import Probe, describe_machine, resolve_threads
from ffprof.hardware.memory_limit import MemoryLimit
from ffprof.harness.process.calls import ask_child
from ffprof.harness.process.child import start_context
from ffprof.harness.worker import probe_child
from ffprof.records.files import write_atomically
from ffprof.units import format_bytes
from ffprof.workload import find_preset

# The errors that are to be reached, in percent: (precision, figure) -> bound.
BOUNDS = {
    ("fp32", "allocated"): 1.0,
    ("bf16", "allocated"): 3.0,
    ("fp32", "reserved"): 5.0,
    ("bf16", "reserved"): 5.0,
}
ONE_SECONDS = 180.0  # of each of a row's two children
LEAST_SECONDS = 20.0  # with less than that no row is begun
DONE, NOTHING, NO_GPU, MISSED, UNFINISHED = 0, 1, 3, 5, 75


class CutError(Exception):
    """A row's child was ended by the limit of all, not by its own."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/gpu/estimates"))
    parser.add_argument("--preset", default="imagenet100")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--limit", type=float, default=420.0, help="seconds until it stops")
    asked = parser.parse_args()
    deadline = time.monotonic() + asked.limit
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / f"estimates-{asked.preset}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    base = resolve_threads(find_preset(asked.preset).recipe)
    with environment(child_environment(base)):
        server, spawn = start_context("forkserver"), start_context("spawn")
        found, reason = ask_child(server, probe_child, Probe)
        if found is None or not found.cuda:
            print(f"there is no GPU here: {reason or found.reason}", file=sys.stderr)
            sys.exit(NO_GPU)
        machine = describe_machine(found, child_environment(base))
        left = to_do(rows, asked.precisions.split(","), all_workloads()[0], base)
        while left and deadline - time.monotonic() > LEAST_SECONDS:
            precision, one, recipe = left[0]
            try:
                figures_of = compare(server, spawn, found, one, recipe, deadline)
            except CutError:
                break
            left.pop(0)
            row = {"precision": precision, "workload": one.id, **figures_of}
            rows = [r for r in rows if key(r) != key(row)] + [row]
            document = {"machine": machine.model_dump(), "recipe": base.model_dump(), "rows": rows}
            write_atomically(file, json.dumps(document, indent=1) + "\n")
            print(line(row), flush=True)
    tried = {key(row) for row in rows}
    untried = sum((precision, one.id) not in tried for precision, one, _ in left)
    code, told = concluded(rows, untried, found.gpu)
    write_atomically(file.with_suffix(".txt"), "\n".join(map(line, rows)) + f"\n\n{told}\n")
    print(f"\n{told}")
    sys.exit(code)


def key(row):
    return row["precision"], row["workload"]


def to_do(rows, precisions, workloads, base):
    """(precision, workload, recipe) of what was never tried, then of what gave no figures.

    Rows are in the order of their last try, so that those without figures take turns.
    """
    tried = {key(row): at for at, row in enumerate(rows)}
    known = {key(row) for row in rows if row["estimated"] and row["measured"]}
    wanted = [
        (precision, one, recipe)
        for precision in precisions
        for recipe in [change_recipe(base, {"precision": precision})]
        for one in workloads
        if (precision, one.id) not in known and not one.objection(recipe)
    ]
    return sorted(wanted, key=lambda each: tried.get((each[0], each[1].id), -1))


def compare(server, spawn, found, one, recipe, deadline):
    """One workload under one recipe: what was estimated, what was taken.

    Raises:
        CutError: the deadline (of ``time.monotonic``) has passed before there was an answer.
    """
    target, limit = target_of(found), limit_until(deadline)
    row, told, ending = estimate(server, one.id, recipe, target, limit)
    if ending.kind == "timeout" and limit < ONE_SECONDS:
        raise CutError
    hold = MemoryLimit(total_bytes=found.gpu_total_bytes, words="the whole GPU", limited=False)
    limit = limit_until(deadline)
    ending, watching = probe(spawn, one, recipe, hold, limit)
    if ending.kind == "timeout" and limit < ONE_SECONDS:
        raise CutError
    taken = uncapped_from(ending, watching)
    measured, debit = taken.memory, taken.debit
    guessed = row.memory if row else None
    return {
        "message": "; ".join(filter(None, (told, taken.message))),
        "estimated": guessed and figures(guessed),
        "measured": measured and figures(measured),
        "outside_bytes": most_taken(debit) or None,
        "outside_source": debit.source if debit else None,
        "outside_estimated_bytes": [
            target.overhead.low_bytes, target.overhead.likely_bytes, target.overhead.high_bytes,
        ],
    }  # fmt: skip


def limit_until(deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        raise CutError
    return min(ONE_SECONDS, left)


def figures(memory):
    return {
        "allocated": memory.allocated_peak_bytes,
        "reserved": memory.reserved_peak_bytes,
        "cold_allocated": memory.cold_allocated_peak_bytes,
        "cold_reserved": memory.cold_reserved_peak_bytes,
    }


def error(row, figure):
    """(estimated - measured) / measured in percent, or None."""
    ours, theirs = row["estimated"], row["measured"]
    if not ours or not theirs or not theirs[figure] or ours[figure] is None:
        return None
    return 100 * (ours[figure] - theirs[figure]) / theirs[figure]


def line(row):
    parts = [f"{row['precision']:5}{row['workload']:24}"]
    for figure in ("allocated", "reserved"):
        ours, theirs, off = row["estimated"], row["measured"], error(row, figure)
        told = "-" if off is None else f"{off:+.2f} %"
        here = format_bytes(theirs[figure]) if theirs else "-"
        parts.append(f"{figure} {format_bytes(ours[figure]) if ours else '-'} / {here} {told}")
    parts.append(f"outside {format_bytes(row['outside_bytes'])}")
    return "  ".join(parts) + (f"  {row['message']}" if row["message"] else "")


def concluded(rows, untried, gpu):
    """The exit code, and in words how far the figures are off."""
    told, missed, figures_known = [f"{gpu}: estimated less measured, steady peaks"], [], 0
    for (precision, figure), bound in BOUNDS.items():
        ofs = [(error(row, figure), row) for row in rows if row["precision"] == precision]
        known = [(off, row["workload"]) for off, row in ofs if off is not None]
        figures_known += len(known)
        if not ofs:
            continue
        without = f"{len(ofs) - len(known)} without figures"
        if not known:
            told.append(f"{precision} {figure}: {without}")
            continue
        worst, name = max(known, key=lambda one: abs(one[0]))
        outside = [n for off, n in known if abs(off) > bound]
        told.append(
            f"{precision} {figure}: {len(known) - len(outside)} of {len(known)} within {bound:g} "
            f"%; worst {worst:+.2f} % ({name}); {without}"
        )
        if outside:
            missed.append(f"{precision} {figure} by {', '.join(outside)}")
    if untried:
        code = UNFINISHED
        told.append(
            f"{untried} rows are still to be tried, the time is over: call it again to go on"
        )
    elif not figures_known:
        code = NOTHING
        told.append("nothing could be measured: the messages of the rows say why")
    else:
        code = MISSED if missed else DONE
    told.append(f"bounds missed: {'; '.join(missed)}" if missed else "no bound is missed")
    return code, "\n".join(told)


if __name__ == "__main__":
    main()
