"""How far off is a step of Qwen3.5-0.8B on the null device? Against a measurement.

    python benchmarks/accuracy/qwen_rows.py [--packages FOLDER] [--capability 12.0]

Rows of FakeGPU's docs/llm-sft-memory-estimation.md (github.com/FanBB2333/FakeGPU at 7d5cf83):
`torch.cuda.max_memory_allocated()` of one step on an RTX PRO 5000 of 72 GB, torch 2.8.0+cu128,
transformers 5.12.1. Two were measured on an RTX 3090 Ti with torch 2.12.1, too: 6.630 GiB for the
first and 1.876 for the last. Each is run by what `ffprof estimate -- python qwen_loop.py ...`
calls, as on that card: for compute capability 12.0, torch 2.12 and newer have workspaces of cuBLAS
that are 24 MiB larger, and the rows come out 24 to 48 MiB too high. Torch 2.10 and 2.11 have not,
so under them `--capability 12.0` is the card of the measurement. Needs a C compiler, transformers
5.12.1 and peft, if need be in --packages FOLDER. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from card_file import write_card

from ffprof.experiments.script.request import ScriptRequest
from ffprof.experiments.script.runner import estimate_script
from ffprof.units import GIB, MIB

HERE = Path(__file__).parent
# An RTX 3090 Ti by its maker's specifications.
CARD = {
    "name": "RTX 3090 Ti", "class": "24GB", "architecture": "Ampere", "chip": "GA102",
    "year": 2022, "compute_capability": "8.6", "sm_count": 84, "cuda_total_bytes": 24100 * MIB,
    "nvml_total_bytes": 24564 * MIB, "bandwidth_gb_s": 1008.0, "fp32_tflops": 40.0,
    "tf32_tflops": 40.0, "fp16_tensor_tflops": 160.0, "bf16_tensor_tflops": 160.0,
    "tdp_watts": 450, "pcie": "PCIe 4.0 x16", "memory_type": "GDDR6X",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A measured step; its peak in GiB and FakeGPU's own error as they are printed there."""

    method: str
    tokens: int
    accumulation: int
    checkpointed: bool
    measured: float
    theirs: str


ROWS = (
    Row("full", 16, 2, False, 6.626, "0.989 %"),
    Row("full", 128, 1, False, 6.687, "1.121 %"),
    Row("full", 128, 1, True, 6.679, "1.006 %"),
    Row("lora", 16, 1, False, 1.756, "1.921 %"),
    Row("lora", 128, 1, False, 2.696, "1.271 %"),
    Row("lora", 128, 1, True, 1.876, "1.506 %"),
)


def peak_of(row: Row) -> float:
    """What is allocated at the peak of its only step, in GiB."""
    words = (row.method, str(row.tokens), str(row.accumulation), str(int(row.checkpointed)))
    with tempfile.TemporaryDirectory() as name:
        found = estimate_script(
            ScriptRequest(
                command=(sys.executable, str(HERE / "qwen_loop.py"), *words),
                card=str(CARD["name"]),
                card_files=(write_card(CARD, Path(name), "low", "the maker"),),
                steps=1,
            )
        )
    peak = found.cold_allocated_peak_bytes or found.allocated_peak_bytes
    if not peak:
        raise SystemExit(f"{' '.join(words)}: {found.status}: {found.message}")
    return peak / GIB


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packages", help="a folder with transformers, put on PYTHONPATH")
    parser.add_argument("--capability", default=CARD["compute_capability"])
    options = parser.parse_args()
    CARD["compute_capability"] = options.capability
    if options.packages:
        os.environ["PYTHONPATH"] = options.packages
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    print("| step | checkpointed | micro-batches | tokens | measured, GiB | null device | error | "
          "FakeGPU's |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    errors = []
    for row in ROWS:
        peak = peak_of(row)
        errors.append(peak / row.measured - 1)
        cells = [
            row.method, "yes" if row.checkpointed else "no", str(row.accumulation),
            str(row.tokens), f"{row.measured:.3f}", f"{peak:.3f}", f"{errors[-1]:+.3%}", row.theirs,
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nlargest error: {max(map(abs, errors)):.3%}")


if __name__ == "__main__":
    main()
