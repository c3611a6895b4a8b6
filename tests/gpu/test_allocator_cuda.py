"""The simulated allocator against torch's on a real card, where memory is really taken."""

import re

import pytest
import torch
from sequences import compare, requested_peak, sequence, simulate
from stub_cuda import ask_torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.gpu_only("has no driver of its own; tests/unit/estimator/test_allocator_torch.py"),
]

RELEASE = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
SHAPES = [(6, 27, 60), (16, 26, 150), (19, 27, 30)]
SETTINGS = ["", "expandable_segments:True", "max_split_size_mb:32", "roundup_power2_divisions:4"]


@pytest.mark.skipif(RELEASE < (2, 14), reason="before 2.14 the driver's addresses decide")
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("tensors", [False, True])
def test_allocated_and_reserved_are_torchs_at_every_step(settings, tensors):
    """With no limit and under torch.cuda.set_per_process_memory_fraction; retries and OOMs too."""
    tasks = []
    for at, shape in enumerate(SHAPES):
        sizes, events = sequence(at, 1500, *shape)
        for allowed in (None, int(requested_peak(sizes, events) * 0.9)):
            tasks.append(
                {
                    "settings": settings,
                    "sizes": sizes,
                    "events": events,
                    "allowed_bytes": allowed,
                    "tensors": tensors,
                }
            )
    answers = ask_torch(tasks)
    for task, theirs in zip(tasks, answers, strict=True):
        if task["allowed_bytes"]:
            # What the fraction made of it, which is a float between.
            total = torch.cuda.mem_get_info()[1]
            task["allowed_bytes"] = int(task["allowed_bytes"] / total * total)
        assert not compare(simulate(**task), theirs, figures=4)
    assert any(answer[-1][3] for answer in answers), "no sequence ran out of memory"
