"""Installs papers into a folder, as pip would: the shipped one, and a tiny one for ``--run``."""

import os
from pathlib import Path

from ffprof.workload import Accuracy, Command, Depth, Lead, Paper, Statement, Widening

_TINY = {
    "preset": "smoke", "threads": 1, "workloads": "bp,dtg-ff", "samples": 96, "epochs": 1,
}  # fmt: skip


def learn(**options):
    return Command(verb="learn", options={**_TINY, **options})


DIGITS = learn(data="digits", seeds="2")
TEACHER = learn(
    data="teacher", seeds="1", sweep="classes=2,4", test_samples=32, teacher_width=4
)  # fmt: skip
ABSENT = learn(data="tiny-imagenet", seeds="1")
DEEP = tuple(
    Command(
        verb="run",
        options={
            "preset": "smoke", "backbone": f"flat-{blocks}-8", "workloads": "bp,dtg-ff-streamed",
            "device": "cpu", "rounds": 1, "steps": 1, "threads": 1,
        },
    )
    for blocks in (2, 6)
)  # fmt: skip

TINY = Paper(
    title="A tiny paper",
    source="the tests",
    reservation="nothing of it is true",
    statements=(
        Statement(
            id="absent",
            words="what no data are here for",
            figure="50 %",
            question=Accuracy(workload="bp", data="tiny-imagenet", percent=50.0),
            commands=(ABSENT,),
            small=(ABSENT,),
            rank=1,
        ),
        Statement(
            id="lead",
            words="bp ahead on digits",
            figure="1.00",
            question=Lead(ahead="bp", behind="dtg-ff", data="digits", points=1.0),
            commands=(DIGITS,),
            small=(DIGITS,),
            rank=2,
        ),
        Statement(
            id="classes",
            words="and over the class count",
            figure="widens",
            question=Widening(ahead="bp", behind="dtg-ff", data="teacher"),
            commands=(TEACHER,),
            small=(TEACHER,),
            rank=3,
        ),
        Statement(
            id="depth",
            words="no depth-wide activations",
            figure="possible",
            question=Depth(workload="dtg-ff-streamed", baseline="bp"),
            commands=DEEP,
            small=DEEP,
            rank=4,
        ),
    ),
)


def install_paper(folder: Path, value: str = "workloads.paper:PAPER", name: str = "dtg-ff"):
    """The environment under which ffprof sees it; with the shipped one installed, it is the same.

    The tiny paper has a name of its own, so that it is asked for by its name.
    """
    info = folder / f"{name.replace('-', '_')}_paper-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-paper\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ffprof.papers]\n{name} = {value}\n")
    support = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{support}"}
