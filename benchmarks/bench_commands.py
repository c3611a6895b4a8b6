"""How long commands take: start-up of the tool, and a whole audit of the default preset.

Start-up times are medians of runs that alternate with an empty Python and with `import torch`.

    python benchmarks/bench_commands.py [runs]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FFPROF = [sys.executable, "-m", "ffprof"]


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        audit = seconds([*FFPROF, "run", "--preset", "small", "--device", "cpu", "--out", folder])
        (file,) = Path(folder).glob("*.json")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "ffprof --help": [*FFPROF, "--help"],
            "ffprof workloads": [*FFPROF, "workloads"],
            "ffprof report": [*FFPROF, "report", str(file)],
            "ffprof report -f markdown": [*FFPROF, "report", "-f", "markdown", str(file)],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(seconds(command))
    for name, values in times.items():
        print(f"{name:28}{statistics.median(values):.3f} s (to {max(values):.3f})")
    print(f"whole audit, preset small, six rows, 3 rounds: {audit:.1f} s")


if __name__ == "__main__":
    main()
