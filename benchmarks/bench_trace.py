"""How long does an estimate take, against torch's MemTracker on the same work?

resnet50, batch 64 of 224x224, SGD with momentum: build and two steps. Each figure comes from a
process of its own, after its imports; the two take turns. MemTracker tracks bytes of tensors on
fake tensors; ffprof traces, sizes workspaces and replays through the allocator as well.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

ROUNDS = 5
BATCHES = (1, 64, 1024)


def loop(device, batch):
    import torch
    import torchvision

    with torch.device(device):
        model = torchvision.models.resnet50()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)

    def step():
        images = torch.empty(batch, 3, 224, 224, device=device)
        labels = torch.empty(batch, dtype=torch.long, device=device)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return model, optimizer, step


def ours(batch: int) -> tuple[float, float]:
    """Seconds, and allocated MiB."""
    import torch._dynamo  # noqa: F401  (optimizers import it)
    import torchvision  # noqa: F401

    import ffprof.estimator.tracing.trace  # noqa: F401
    from ffprof.estimator.api import estimate

    began = time.perf_counter()
    found = estimate(lambda device: loop(device, batch)[2])
    return time.perf_counter() - began, found.allocated_peak_bytes / 2**20


def theirs(batch: int) -> tuple[float, float]:
    """The same for MemTracker."""
    import torch._dynamo  # noqa: F401
    import torchvision  # noqa: F401
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    began = time.perf_counter()
    with FakeTensorMode():
        model, optimizer, step = loop("cpu", batch)
        tracker = MemTracker()
        tracker.track_external(model, optimizer)
        with tracker:
            step()
            tracker.reset_mod_stats()  # else it refuses a second step
            step()
    taken = time.perf_counter() - began
    peak = tracker.get_tracker_snapshot("peak")
    return taken, max(kinds["Total"] for kinds in peak.values()) / 2**20


def run(name: str, batch: int) -> tuple[float, float]:
    words = [sys.executable, __file__, name, str(batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    pairs = [(run("ours", 64), run("theirs", 64)) for _ in range(ROUNDS)]
    mine, other = ([pair[i][0] for pair in pairs] for i in (0, 1))
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    print(f"resnet50, batch 64, {ROUNDS} rounds, each in a process of its own, after imports")
    for name, times, peak in (
        ("ffprof", mine, pairs[0][0][1]),
        ("MemTracker", other, pairs[0][1][1]),
    ):
        print(f"  {name:<11} median {statistics.median(times):.2f} s "
              f"({min(times):.2f} to {max(times):.2f}), peak {peak:,.0f} MiB")  # fmt: skip
    print(f"  MemTracker takes {statistics.median(ratios):.1f} times as long "
          f"({min(ratios):.1f} to {max(ratios):.1f})")  # fmt: skip
    for batch in BATCHES:
        print(f"  ffprof at batch {batch}: {run('ours', batch)[0]:.2f} s")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"ours": ours, "theirs": theirs}[sys.argv[1]](int(sys.argv[2]))))
    else:
        main()
