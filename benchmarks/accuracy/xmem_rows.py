"""How far off is what a script takes on the null device? Against xMem's own measurements.

    python benchmarks/accuracy/xmem_rows.py [--only WORD] [--packages FOLDER] [--file CSV]

data/xmem_rows.csv has rows that the authors of xMem measured on an RTX 3060 and an RTX 4060 (torch
2.6.0+cu124, transformers 4.51.3; github.com/Stone-ResearchLife/xMem, plot/data, MIT licence).
Each is run as a user would, by what `ffprof estimate --card-file CARD -- python xmem_loop.py ...`
calls. What was measured is NVML's used memory less what was used when the context was there, so it
is held against the reserved peak. Without a GPU; needs a C compiler, torchvision, and transformers
for language models, if need be in --packages FOLDER. Prints Markdown, each row as it is done.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
from pathlib import Path

from card_file import write_card

from ffprof.experiments.script.request import ScriptRequest
from ffprof.experiments.script.runner import estimate_script
from ffprof.records.script import ScriptEstimate
from ffprof.units import MIB

HERE = Path(__file__).parent
TIME_LIMIT = 900.0
# By the makers' specifications; what CUDA offers is in the rows.
CARDS = {
    "RTX 3060": {
        "class": "12GB", "architecture": "Ampere", "chip": "GA106", "year": 2021,
        "compute_capability": "8.6", "sm_count": 28, "nvml_total_bytes": 12288 * MIB,
        "bandwidth_gb_s": 360.0, "fp32_tflops": 12.74, "tf32_tflops": 12.7,
        "fp16_tensor_tflops": 25.5, "bf16_tensor_tflops": 25.5, "tdp_watts": 170,
        "pcie": "PCIe 4.0 x16", "memory_type": "GDDR6",
    },
    "RTX 4060": {
        "class": "8GB", "architecture": "Ada Lovelace", "chip": "AD107", "year": 2023,
        "compute_capability": "8.9", "sm_count": 24, "nvml_total_bytes": 8188 * MIB,
        "bandwidth_gb_s": 272.0, "fp32_tflops": 15.11, "tf32_tflops": 15.1,
        "fp16_tensor_tflops": 30.2, "bf16_tensor_tflops": 30.2, "tdp_watts": 115,
        "pcie": "PCIe 4.0 x8", "memory_type": "GDDR6",
    },
}  # fmt: skip


def profile(row: dict[str, str], folder: Path) -> Path:
    """The card of a row, with the total that its measurement reports."""
    facts = {"name": f"{row['card']} as measured", "cuda_total_bytes": int(row["total_bytes"])}
    facts |= CARDS[row["card"]]
    return write_card(facts, folder, "high", "xMem and the maker")


def estimated(row: dict[str, str]) -> ScriptEstimate:
    """What ffprof tells of the row's loop on the row's card."""
    with tempfile.TemporaryDirectory() as name:
        command = (
            sys.executable, str(HERE / "xmem_loop.py"),
            row["model"], row["optimiser"], row["batch"], row["zero_grad_mode"],
        )  # fmt: skip
        return estimate_script(
            ScriptRequest(
                command=command,
                card=f"{row['card']} as measured",
                card_files=(profile(row, Path(name)),),
                steps=4,
                time_limit=TIME_LIMIT,
            )
        )


def told(row: dict[str, str], found: ScriptEstimate) -> tuple[float | None, str]:
    """The error of a row that ran, as a share, and its line of the table."""
    measured, ran_out = int(row["measured_bytes"]), row["real_oom"] == "1"
    peaks = [p for p in (found.reserved_peak_bytes, found.cold_reserved_peak_bytes) if p]
    error = max(peaks) / measured - 1 if peaks and not ran_out else None
    cells = [
        row["model"], row["optimiser"], row["batch"], row["zero_grad_mode"], row["card"],
        f"{measured / MIB:.0f}" + (" (ran out)" if ran_out else ""),
        f"{max(peaks) / MIB:.0f}" if peaks else "-",
        "-" if error is None else f"{error:+.2%}",
        found.status,
    ]  # fmt: skip
    return error, f"| {' | '.join(cells)} |"


def right(row: dict[str, str], found: ScriptEstimate) -> bool | None:
    """Whether the verdict is right; None if it is too close to call."""
    if found.status == "too close to call":
        return None
    return (found.status == "out of memory") == (row["real_oom"] == "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AS_IS)
    parser.add_argument("--only", default="", help="rows whose model has this in its name")
    parser.add_argument("--packages", help="a folder with transformers, put on PYTHONPATH")
    parser.add_argument("--file", type=Path, default=HERE / "data" / "xmem_rows.csv")
    options = parser.parse_args()
    if options.packages:
        os.environ["PYTHONPATH"] = options.packages
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    print("| model | optimizer | batch | zero_grad | card | measured, MiB | estimated | error | "
          "verdict |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    errors: dict[str, list[float]] = {"language": [], "images": []}
    verdicts: list[bool | None] = []
    with options.file.open(newline="") as file:
        for row in csv.DictReader(file):
            if options.only not in row["model"]:
                continue
            found = estimated(row)
            error, line = told(row, found)
            print(line, flush=True)
            verdicts.append(right(row, found))
            if error is not None:
                errors["language" if row["input"].startswith("seq") else "images"].append(error)
    print()
    for name, group in (*errors.items(), ("all", errors["language"] + errors["images"])):
        sizes = sorted(abs(error) for error in group)
        if sizes:
            print(f"{name}: {len(sizes)} rows, median error {statistics.median(sizes):.2%}, "
                  f"90th percentile {sizes[int(0.9 * (len(sizes) - 1))]:.2%}")  # fmt: skip
    print(f"verdicts: {verdicts.count(True)} right, {verdicts.count(False)} wrong, "
          f"{verdicts.count(None)} too close to call")  # fmt: skip


_AS_IS = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
