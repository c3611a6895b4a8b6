"""``ffprof learn``: does it also learn? Held-out accuracy beside memory, time and energy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import typer

from ffprof.cli.common_options import BUDGET, CUT, FORMAT, MODEL, Format, takes, written_options
from ffprof.cli.interrupts import end_when_asked
from ffprof.experiments.learning.options import LearningOptions
from ffprof.experiments.options import Options

Labels = Literal["fine", "coarse"]
Schedule = Literal["cosine", "constant"]
LearningDevice = Literal["auto", "cuda", "cpu"]
_DATA = ("data", "data_workers", "download", "seed", "threads", "on_foreign", "run_limit", "out")


@takes("preset", "workloads", "workload_files", *MODEL, *CUT, *BUDGET, *_DATA)
def learn(
    context: typer.Context,
    options: Options,
    device: LearningDevice = typer.Option("auto", help="Device to train on."),
    epochs: int = typer.Option(20, min=1, max=100_000, help="Passes over the training images."),
    seeds: str = typer.Option("3", help="How many, from --seed on, or which: 0,1,5."),
    classes: int = typer.Option(None, min=2, help="Train on the first K classes only."),
    drawn_by: int = typer.Option(None, min=0, help="Draw the K classes by this seed instead."),
    samples: int = typer.Option(None, min=1, help="Training images in all, as many of each class."),
    samples_per_class: int = typer.Option(None, min=1, help="Training images of each class."),
    labels: Labels = typer.Option("fine", help="coarse: the groups of the data's classes."),
    sweep: str = typer.Option(
        None, help="classes=2,4,8, samples=..., samples-per-class=... or labels=fine,coarse."
    ),
    optimizer: Literal["adamw", "sgd"] = typer.Option("adamw", help="For all workloads."),
    learning_rate: float = typer.Option(None, min=0, help="The highest; 0.002 by default."),
    weight_decay: float = typer.Option(None, min=0, help="The preset's by default."),
    tune: int = typer.Option(
        None,
        min=1,
        max=10_000,
        help="Trials of each workload, to find its settings on the validation images first.",
    ),
    schedule: Schedule = typer.Option("cosine", help="Of the learning rate, after warm-up."),
    warmup_epochs: float = typer.Option(
        None, min=0, help="Of linear warm-up; one by default, a tenth of fewer than ten epochs."
    ),
    augmentation: bool = typer.Option(
        True, "--augmentation/--no-augmentation", help="Shift and flip training images."
    ),
    shift: int = typer.Option(
        None, min=0, max=1024, help="Most pixels of a shift; an eighth of the side by default."
    ),
    validation: float = typer.Option(
        0.1, min=0, max=0.5, help="Share of the training images that is held back to validate."
    ),
    target: float = typer.Option(
        None, min=0, max=1, help="Also report time and images to this validation accuracy: 0.9."
    ),
    teacher_depth: int = typer.Option(None, min=1, help="Of --data teacher: its layers."),
    teacher_width: int = typer.Option(None, min=1, help="Of --data teacher: its channels."),
    label_noise: float = typer.Option(
        None, min=0, max=1, help="Of --data teacher: share of labels that are random."
    ),
    teacher_seed: int = typer.Option(None, min=0, help="Of --data teacher: its weights."),
    test_samples: int = typer.Option(None, min=2, help="Of --data teacher: images of the test."),
    unbalanced: bool = typer.Option(
        False, "--unbalanced", help="Of --data teacher: classes as often as it gives them."
    ),
    jobs: int = typer.Option(
        1, min=1, help="Runs at a time; their times are marked. Never more than processors."
    ),
    time_limit: float = typer.Option(86_400.0, min=0.1, help="Time limit of a run in seconds."),
    resume: Path = typer.Option(
        None,
        help="Resume this unfinished study, or the newest one in this folder.",
        readable=False,  # said by who reads it, in one line
    ),
    format: Format = FORMAT,
) -> None:
    """Train workloads under one recipe and report held-out accuracy.

    Each workload is trained from each seed, on each task of a sweep, in a process of its own.
    Writes one result file, complete after every epoch; the test set is read once, at the end.
    """
    asked = LearningOptions.of(locals())
    from ffprof.cli.output.learning import run_and_print
    from ffprof.experiments.learning.plan import prepare_study
    from ffprof.experiments.learning.resume import resumed_study

    written = written_options(context)
    given = {name: written[name] for name in written if name not in ("resume", "format")}
    end_when_asked()
    options = replace(options, device=device, estimates=False, time_limit=time_limit)
    opened = prepare_study(options, asked) if resume is None else resumed_study(resume, given)
    with opened as request:
        code = run_and_print(request, format)
    raise typer.Exit(code)
