"""Is what ffprof estimates what a GPU takes? Every shipped workload, estimated and then run.

Each workload is estimated in one child and run in another on the GPU, without a limit: warm-up and
two steady steps. Compared are the steady peaks, allocated and reserved, and what the process takes
beside the allocator with the estimated range. Figures are kept after every run, so that the script
goes on where it stopped.

    python benchmarks/estimates_on_gpu.py --out results/gpu/estimates
"""

import argparse
import json
import time
from pathlib import Path

from ffprof.audit.asked import peak_child
from ffprof.audit.budgets import most_taken
from ffprof.audit.child import probe_child
from ffprof.audit.messages import Failed
from ffprof.audit.probing import ask_child
from ffprof.audit.process import run_child, start_context
from ffprof.audit.store import write_atomically
from ffprof.audit.taking import probe, uncapped_from
from ffprof.audit.target import Target
from ffprof.cli.choose import all_workloads, change_recipe
from ffprof.cli.request import cuda_of
from ffprof.estimator.process import ASSUMED_CUDA, process_overhead
from ffprof.hardware.cap import Hold
from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import Probe, describe_machine, resolve_threads
from ffprof.peak_record import PeakRow
from ffprof.units import format_bytes
from ffprof.workload import find_preset

# The errors that are to be reached, in percent: (precision, figure) -> bound.
BOUNDS = {
    ("fp32", "allocated"): 1.0,
    ("bf16", "allocated"): 3.0,
    ("fp32", "reserved"): 5.0,
    ("bf16", "reserved"): 5.0,
}
ONE_SECONDS = 180.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/gpu/estimates"))
    parser.add_argument("--preset", default="imagenet100")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--limit", type=float, default=420.0, help="seconds until it stops")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / f"estimates-{asked.preset}.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    started = time.monotonic()
    base = resolve_threads(find_preset(asked.preset).recipe)
    with environment(child_environment(base)):
        server, spawn = start_context("forkserver"), start_context("spawn")
        found, reason = ask_child(server, probe_child, Probe)
        if found is None or not found.cuda:
            raise SystemExit(f"there is no GPU here: {reason or found.reason}")
        machine = describe_machine(found, child_environment(base))
        done = {(row["precision"], row["workload"]) for row in rows}
        wanted = [
            (precision, one)
            for precision in asked.precisions.split(",")
            for one in all_workloads()[0]
            if (precision, one.id) not in done
        ]
        complete = True
        for precision, one in wanted:
            if time.monotonic() - started > asked.limit:
                complete = False
                break
            recipe = change_recipe(base, {"precision": precision})
            if one.objection(recipe):
                continue
            row = compare(server, spawn, found, one, recipe)
            rows.append({"precision": precision, "workload": one.id, **row})
            document = {"machine": machine.model_dump(), "recipe": base.model_dump(), "rows": rows}
            write_atomically(file, json.dumps(document, indent=1) + "\n")
            print(line(rows[-1]), flush=True)
    summary(rows, found)
    if not complete:
        raise SystemExit(f"{len(wanted)} were to do, the time is over: call it again to go on")


def compare(server, spawn, found, one, recipe):
    """One workload under one recipe: what was estimated, what was taken."""
    cuda = cuda_of(found) or ASSUMED_CUDA
    target = Target(
        total_bytes=found.gpu_total_bytes,
        overhead=process_overhead(found.capability, cuda=cuda),
        capability=found.capability,
    )
    ending = run_child(server, peak_child, ([one.id], recipe, target, None), ONE_SECONDS)
    row = next((m for m in ending.messages if isinstance(m, PeakRow)), None)
    failed = next((m.message for m in ending.messages if isinstance(m, Failed)), ending.reason)
    hold = Hold(total_bytes=found.gpu_total_bytes, words="the whole GPU", limited=False)
    taken = uncapped_from(*probe(spawn, one, recipe, hold, ONE_SECONDS))
    measured, debit = taken.memory, taken.debit
    guessed = row.memory if row else None
    return {
        "message": "; ".join(filter(None, (failed if row is None else row.message, taken.message))),
        "estimated": guessed and figures(guessed),
        "measured": measured and figures(measured),
        "outside_bytes": most_taken(debit) or None,
        "outside_source": debit.source if debit else None,
        "outside_estimated_bytes": [
            target.overhead.low_bytes, target.overhead.likely_bytes, target.overhead.high_bytes,
        ],
    }  # fmt: skip


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


def summary(rows, found):
    print(f"\n{found.gpu}: estimated less measured, steady peaks")
    for (precision, figure), bound in BOUNDS.items():
        ofs = [(error(row, figure), row) for row in rows if row["precision"] == precision]
        known = [(off, row["workload"]) for off, row in ofs if off is not None]
        if not known:
            continue
        worst, name = max(known, key=lambda one: abs(one[0]))
        inside = sum(abs(off) <= bound for off, _ in known)
        print(
            f"{precision} {figure}: {inside} of {len(known)} within {bound:g} %; worst "
            f"{worst:+.2f} % ({name}); {len(ofs) - len(known)} without figures"
        )


if __name__ == "__main__":
    main()
