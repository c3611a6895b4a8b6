"""Twenty training steps on FakeGPU's tensors and on the null device: what do both say?

    python benchmarks/accuracy/fakegpu_rows.py FOLDER

FOLDER is a checkout of github.com/FanBB2333/FakeGPU. Its runtime `fakecuda` computes on the host
and keeps `torch.cuda.max_memory_allocated()` and `max_memory_reserved()`; both are asked, of the
second of two steps of tests/oracle, as an RTX 4060. On the null device they are PyTorch's own. Each
step of FakeGPU's has a process and two minutes. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ffprof.hardware.cards import find_card
from ffprof.nulldevice import NullDevice, environment
from ffprof.units import MIB

ORACLE = Path(__file__).parents[2] / "tests" / "oracle"
SUPPORT = ORACLE.parent / "support"
NAMES = (
    "resnet18", "resnet50", "vgg11", "resnet18 accumulated", "resnet18 checkpointed",
    "resnet18 AdamW by foreach", "resnet18 bf16", "resnet18 fp16", "resnet18 channels last",
    "mobilenet_v2", "convnext", "vit", "gpt", "gpt bf16", "gpt checkpointed", "LSTM", "u-net",
    "attention", "adversarial", "compiled",
)  # fmt: skip
LIMIT_SECONDS = 120
THEIRS = """
import json, sys
import fakegpu
fakegpu.init(runtime="fakecuda", profile="rtx4060")
import torch
sys.path[:0] = sys.argv[2:]
from steps import STEPS
step = STEPS[sys.argv[1]]
step.prepare()
torch.manual_seed(0)
take = step.build(torch.device("cuda"))
take()
torch.cuda.reset_peak_memory_stats()
take()
print(json.dumps([torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()]))
"""


def ours() -> dict[str, list[int]]:
    """Peaks on the null device by name, allocated and reserved, in bytes."""
    device = NullDevice.of_card(find_card("RTX 4060"))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peaks"
        variables = {**os.environ, **environment(device, Path(folder) / "device")}
        variables["PYTHONPATH"] = os.pathsep.join(map(str, (ORACLE, SUPPORT)))
        words = [sys.executable, str(ORACLE / "child.py"), str(out)]
        for name in NAMES:
            subprocess.run([*words, name], env=variables, check=True)
        for line in out.read_text().splitlines():
            answer = json.loads(line)
            found[answer["name"]] = answer["steady"]
    return found


def theirs(name: str, folder: Path) -> list[int] | str:
    """Peaks of FakeGPU, or why there are none."""
    variables = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", THEIRS, name, str(ORACLE), str(SUPPORT)]
    try:
        done = subprocess.run(
            words, env=variables, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not done in {LIMIT_SECONDS} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return f"fails: {last[:60]}"
    peaks: list[int] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a checkout of FakeGPU")
    folder = parser.parse_args().folder.resolve()
    print("| step | PyTorch on the null device, MiB | FakeGPU, allocated | FakeGPU, reserved |\n"
          "|---|---|---|---|", flush=True)  # fmt: skip
    mine, errors = ours(), []
    for name in NAMES:
        found = theirs(name, folder)
        told = [found, ""]
        if not isinstance(found, str):
            less = [other / own - 1 for other, own in zip(found, mine[name], strict=True)]
            errors.append(less)
            told = [f"{one:+.1%}" for one in less]
        sizes = " / ".join(f"{one / MIB:,.0f}" for one in mine[name])
        print(f"| {name} | {sizes} | {told[0]} | {told[1]} |", flush=True)
    for what, column in zip(("allocated", "reserved"), zip(*errors, strict=True), strict=True):
        sizes = sorted(map(abs, column))
        print(f"\n{what}: {len(sizes)} of {len(NAMES)} steps, median error "
              f"{statistics.median(sizes):.1%}, largest {sizes[-1]:.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
