"""How far off is the estimate? Against public measurements, on halves of the models not fitted on.

    python benchmarks/accuracy/estimator.py [--cache FOLDER] [--rows]

Needs timm beside ffprof (``pip install timm``); no GPU. Prints Markdown: errors over 200 splits,
the verdicts for an 8 GB card, and with --rows every row. --cache keeps predictions between runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from other_rows import other_rows
from split_half import SPLITS, Fit, Row, fit, halves, quantile
from timm_rows import Measured, loader_stream, measured_rows, streams

from ffprof.estimator.allocator import AllocatorConfig, CachingAllocator
from ffprof.estimator.cuda.workspaces import WorkspaceModel, resolve, trial_bytes
from ffprof.estimator.replay import Run
from ffprof.estimator.stream import Stream
from ffprof.units import MIB

# What nvidia-smi reports for a 40 GB A100, less 1.7 GiB for context and libraries.
CAPACITY_MIB = 40_536 - 1_720
BUDGET_MIB = 8188  # an 8 GB card with a recent driver
# Quantiles of the training half's residuals that a verdict allows for. The tenth of the rows above
# the upper one are those that autotuning raised, which the trial's bound is for.
MARGIN = (0.05, 0.9)
# Octaves: rows do not tell finer values apart, and choosing among noise costs accuracy.
THRESHOLDS = (20.0, 40.0, 80.0, 160.0, 320.0)
# These were measured before torch 2.14, which orders blocks of one size otherwise.
CONFIG = AllocatorConfig(ties="address")
MODELS = {
    "tensors alone": [WorkspaceModel.none()],
    "matrix products": [WorkspaceModel(convolutions=False)],
    "and the cache emptied by autotuning": [WorkspaceModel(tensor_cores=False)],
    "and convolutions (the default)": [WorkspaceModel(copies_above=t) for t in THRESHOLDS],
}


def peak_mib(stream: Stream, model: WorkspaceModel) -> float:
    resolved = resolve(stream, model)
    allocator = CachingAllocator(capacity_bytes=CAPACITY_MIB * MIB, config=CONFIG)
    run = Run(resolved, allocator, include_workspaces=True)
    run.forward(len(resolved.events))
    return allocator.reserved_peak_bytes / MIB


def predict(cache: Path | None) -> dict[str, list[Row]]:
    """The rows as each model of workspaces predicts them."""
    rows = measured_rows()
    found: dict[str, list[Row]] = {name: [] for name in MODELS}
    if cache is not None and cache.exists():
        known = json.loads(cache.read_text())
        return {name: [Row(**{**r, "reserved": tuple(r["reserved"])}) for r in known[name]]
                for name in MODELS}  # fmt: skip
    began = time.perf_counter()
    for row, stream in streams(rows):
        for name, models in MODELS.items():
            found[name].append(_row(row, stream, models))
    print(f"{len(rows)} rows traced and replayed in {time.perf_counter() - began:.0f} s\n")
    if cache is not None:
        cache.write_text(json.dumps({n: [_plain(r) for r in rs] for n, rs in found.items()}))
    return found


def _row(row: Measured, stream: Stream, models: list[WorkspaceModel]) -> Row:
    loader = CachingAllocator(config=CONFIG)
    Run(loader_events := loader_stream(row), loader, include_workspaces=True).forward(
        len(loader_events.events)
    )
    beside = loader.reserved_peak_bytes / MIB
    return Row(
        model=row.model,
        batch=row.batch,
        measured=row.mib,
        reserved=tuple(peak_mib(stream, model) + beside for model in models),
        trial=trial_bytes(stream, models[-1]) / MIB,
    )


def _plain(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def over_splits(name: str, rows: list[Row]) -> None:
    """One line: errors of all test rows together, and the median and worst split."""
    errors: list[float] = []
    medians, tails, fits = [], [], []
    for seed in range(SPLITS):
        training, test = halves(rows, seed)
        fitted = fit(training, MARGIN)
        fits.append(fitted)
        here = [abs(fitted.error(row)) for row in test]
        errors += here
        medians.append(statistics.median(here))
        tails.append(quantile(here, 0.9))
    constants = [f.constant for f in fits]
    print(
        f"| {name} | {statistics.median(errors):.2f} | {statistics.fmean(errors):.2f} | "
        f"{quantile(errors, 0.9):.2f} | {statistics.median(medians):.2f} / {max(medians):.2f} | "
        f"{statistics.median(tails):.2f} / {max(tails):.2f} | "
        f"{min(constants):.0f} to {max(constants):.0f} |"
    )


def verdicts(rows: list[Row]) -> None:
    """Every row judged by the splits that had it in their test half."""
    counts: dict[tuple[str, bool], int] = {}
    wrong: dict[str, int] = {}
    for seed in range(SPLITS):
        training, test = halves(rows, seed)
        fitted = fit(training, MARGIN)
        for row in test:
            verdict = fitted.verdict(row, BUDGET_MIB)
            above = row.measured > BUDGET_MIB
            counts[verdict, above] = counts.get((verdict, above), 0) + 1
            if verdict == ("fits" if above else "does not fit"):
                key = f"{row.model} {row.batch}: measured {row.measured:.0f}, {verdict}"
                wrong[key] = wrong.get(key, 0) + 1
    total = sum(counts.values())
    print("\n| verdict | measured at most 8188 MiB | above |\n|---|---|---|")
    for verdict in ("fits", "too close to call", "does not fit"):
        shares = [100 * counts.get((verdict, above), 0) / total for above in (False, True)]
        print(f"| {verdict} | {shares[0]:.1f} % | {shares[1]:.1f} % |")
    for key, times in sorted(wrong.items()):
        print(f"- wrong: {key} (in {times} of the splits that tested it)")


def by_row(rows: list[Row]) -> None:
    """All rows with one fit on all of them, and the shipped threshold's place among them."""
    fitted = fit(rows, MARGIN)
    print(f"\nFitted on all rows: copies above {THRESHOLDS[fitted.choice]:.0f} FLOP a byte, "
          f"constant {fitted.constant:.0f} MiB, margins {100 * fitted.low:.1f} % and "
          f"{100 * fitted.high:+.1f} %")  # fmt: skip
    print("\n| model | batch | measured | predicted | off by |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.model} | {row.batch} | {row.measured:.0f} | "
              f"{fitted.predicted(row):.0f} | {fitted.error(row):+.1f} % |")  # fmt: skip


def misses(rows: list[Row], fitted: Fit) -> None:
    far = [row for row in rows if abs(fitted.error(row)) > 5]
    print(f"\n{len(far)} of {len(rows)} rows are off by more than 5 %:\n")
    for row in sorted(far, key=lambda r: -abs(fitted.error(r))):
        print(f"- {row.model} {row.batch}: measured {row.measured:.0f}, "
              f"predicted {fitted.predicted(row):.0f} ({fitted.error(row):+.1f} %)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--rows", action="store_true", help="print every row too")
    arguments = parser.parse_args()
    found = predict(arguments.cache)
    print(f"Errors in percent over {SPLITS} splits by model, on rows not fitted on; MiB.\n")
    print("| workspaces | median | mean | 90th percentile | a split's median: median / worst | "
          "its 90th percentile: median / worst | constant |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for name, rows in found.items():
        over_splits(name, rows)
    rows = found[list(MODELS)[-1]]
    verdicts(rows)
    misses(rows, fit(rows, MARGIN))
    if arguments.rows:
        by_row(rows)
    other_rows()


if __name__ == "__main__":
    main()
