"""What the abstract of arXiv 2606.06539 states, line by line, and what would answer each.

The figures are the abstract's (P in docs/methods.md). Backbone, epochs and optimizer of the
commands are ours (R).
"""

from __future__ import annotations

from ffprof.workload import (
    Accuracy,
    Command,
    Cost,
    Depth,
    Granularity,
    Lead,
    Paper,
    Reversal,
    Statement,
    Unsupported,
    Widening,
)

_FF, _DEEPSUP, _BP = "dtg-ff", "bp-deepsup", "bp"
_THREE = f"{_BP},{_DEEPSUP},{_FF}"
_SETTING = {"preset": "cifar", "workloads": _THREE, "seeds": "5", "epochs": 100}
_TINY = {"preset": "smoke", "workloads": _THREE, "seeds": "3", "epochs": 4, "threads": 1}
_CLASSES = "classes=10,20,50,100"
_FEW_CLASSES = "classes=2,5,10"


def _learn(**options: object) -> Command:
    return Command(verb="learn", options=options)


# On CIFAR-10, on CIFAR-100 under both kinds of labels, and over its classes.
_CIFAR10 = _learn(data="cifar10", **_SETTING)
_LABELS = _learn(data="cifar100", sweep="labels=fine,coarse", **_SETTING)
_REAL = _learn(data="cifar100", sweep=_CLASSES, **_SETTING)
_SYNTHETIC = _learn(
    data="teacher", sweep=_CLASSES, samples=50_000, test_samples=10_000, **_SETTING
)  # fmt: skip
_IMAGENET = _learn(
    data="imagenet100", preset="imagenet100", workloads=f"{_BP},{_FF}", seeds="3", epochs=90
)  # fmt: skip
_AUDIT = Command(
    verb="run", options={"preset": "imagenet100", "workloads": "all", "gpu_mem": "8GB", "rounds": 9}
)

# What a processor does in minutes.
_DIGITS = _learn(data="digits", **_TINY)
_DIGITS_CLASSES = _learn(data="digits", sweep=_FEW_CLASSES, **_TINY)
_SMALL_TEACHER = _learn(
    data="teacher", sweep=_FEW_CLASSES, samples=2000, test_samples=1000, teacher_width=8, **_TINY
)  # fmt: skip
_FASHION_LABELS = _learn(
    data="fashion-mnist", sweep="labels=fine,coarse", samples=2000, **_TINY
)  # fmt: skip
_ESTIMATE = Command(
    verb="run", options={"preset": "imagenet100", "workloads": "all", "device": "estimate"}
)


def _deep(backbone: str, **more: object) -> Command:
    options = {"preset": "small", "backbone": backbone, "workloads": f"{_BP},{_FF}-streamed"}
    return Command(verb="run", options={**options, "rounds": 1, **more})


_STAND_INS = ("fashion-mnist", "digits")

PAPER = Paper(
    title="Synthetic Benchmarks Overstate Forward-Forward Scaling",
    source="arXiv 2606.06539, its abstract",
    reservation="the backbones, epochs and recipes of the commands are ours and not the paper's, "
    "which its abstract does not give: a figure that differs from the paper's does not refute it",
    statements=(
        Statement(
            id="cifar10",
            words="DTG-FF on CIFAR-10",
            figure="91.8 %",
            question=Accuracy(workload=_FF, data="cifar10", percent=91.8),
            commands=(_CIFAR10,),
            small=(_DIGITS,),
            stand_ins=_STAND_INS,
            rank=30,
        ),
        Statement(
            id="lead-cifar10",
            words="BP-DeepSup ahead on CIFAR-10",
            figure="2.40",
            question=Lead(ahead=_DEEPSUP, behind=_FF, data="cifar10", points=2.40),
            commands=(_CIFAR10,),
            small=(_DIGITS,),
            stand_ins=_STAND_INS,
            rank=30,
        ),
        Statement(
            id="lead-cifar100",
            words="BP-DeepSup ahead on CIFAR-100",
            figure="5.93",
            question=Lead(ahead=_DEEPSUP, behind=_FF, data="cifar100", points=5.93),
            commands=(_LABELS,),
            rank=40,
        ),
        Statement(
            id="classes",
            words="that gap over the class count",
            figure="widens",
            question=Widening(ahead=_DEEPSUP, behind=_FF, data="cifar100"),
            commands=(_REAL,),
            small=(_DIGITS_CLASSES,),
            stand_ins=_STAND_INS,
            rank=20,
        ),
        Statement(
            id="imagenet100",
            words="DTG-FF on ImageNet-100, 224x224",
            figure="49.4 %",
            question=Accuracy(workload=_FF, data="imagenet100", percent=49.4),
            commands=(_IMAGENET,),
            rank=60,
        ),
        Statement(
            id="imagenet100-bp",
            words="typical BP there",
            figure="above 75 %",
            question=Accuracy(workload=_BP, data="imagenet100", percent=75.0, least=True),
            commands=(_IMAGENET,),
            rank=60,
        ),
        Statement(
            id="reversal",
            words="FF-BP sign, synthetic and real",
            figure="reverses",
            question=Reversal(ahead=_BP, behind=_FF, synthetic="teacher", real="cifar100"),
            commands=(_SYNTHETIC, _REAL),
            small=(_SMALL_TEACHER, _DIGITS_CLASSES),
            stand_ins=_STAND_INS,
            rank=20,
        ),
        Statement(
            id="labels",
            words="CIFAR-100 gap, fine over coarse",
            figure="wider",
            question=Granularity(ahead=_BP, behind=_FF, data="cifar100"),
            commands=(_LABELS,),
            small=(_FASHION_LABELS,),
            stand_ins=("fashion-mnist",),
            rank=40,
        ),
        Statement(
            id="depth",
            words="no depth-wide activations",
            figure="possible",
            question=Depth(workload=f"{_FF}-streamed", baseline=_BP),
            commands=(_deep("flat-4-64"), _deep("flat-16-64")),
            small=(
                _deep("flat-4-32", device="cpu", steps=3),
                _deep("flat-16-32", device="cpu", steps=3),
            ),
            rank=10,
        ),
        Statement(
            id="memory",
            words="DTG-FF 7.90 GB, BP+acc. 4.18 GB",
            figure="1.89x",
            question=Cost(
                metric="memory",
                workload=_FF,
                baseline="bp-accum",
                preset="imagenet100",
                ratio=7.90 / 4.18,
            ),
            commands=(_AUDIT,),
            small=(_ESTIMATE,),
            rank=10,
        ),
        Statement(
            id="speed",
            words="DTG-FF 138 img/s, BP+accum. 157",
            figure="0.88x",
            question=Cost(
                metric="throughput",
                workload=_FF,
                baseline="bp-accum",
                preset="imagenet100",
                ratio=138 / 157,
            ),
            commands=(_AUDIT,),
            small=(_ESTIMATE,),
            rank=10,
        ),
        Statement(
            id="fair-baselines",
            words="memory claims, fair baselines",
            figure="none holds",
            question=Unsupported(
                claims=(
                    "dtg-ff-vs-bp-accum-memory",
                    "dtg-ff-streamed-vs-bp-accum-memory",
                    "dtg-ff-streamed-accum-vs-best-bp-memory",
                ),
                preset="imagenet100",
            ),
            commands=(_AUDIT,),
            small=(_ESTIMATE,),
            rank=10,
        ),
    ),
)
