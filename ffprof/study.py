"""``ffprof.learn``: what ``ffprof learn`` does, for notebooks and scripts.

The result prints itself (``ffprof.result``). Nothing is written or printed unless requested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ffprof.api import (
    Count,
    Names,
    OnForeign,
    Paths,
    Seconds,
    folder_for,
    options_of,
    progress_or_none,
    without_main,
)
from ffprof.arguments import checked, words_of
from ffprof.errors import NothingMeasuredError, UsageError
from ffprof.records.learning import LearningRecord
from ffprof.records.redaction import recorded


@checked
def learn(
    workloads: Names | None = None,
    *,
    data: str | None = None,
    epochs: Count = 20,
    seeds: int | Sequence[int] = 3,
    sweep: dict[str, Sequence[int | str]] | None = None,
    classes: int | None = None,
    drawn_by: int | None = None,
    samples: int | None = None,
    samples_per_class: int | None = None,
    labels: Literal["fine", "coarse"] = "fine",
    optimizer: Literal["adamw", "sgd"] | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    tune: Count | None = None,
    schedule: Literal["cosine", "constant"] = "cosine",
    warmup_epochs: float | None = None,
    augmentation: bool = True,
    shift: int | None = None,
    validation: float = 0.1,
    target: float | None = None,
    teacher_depth: int | None = None,
    teacher_width: int | None = None,
    label_noise: float | None = None,
    teacher_seed: int | None = None,
    test_samples: int | None = None,
    unbalanced: bool = False,
    jobs: Count = 1,
    preset: str | None = None,
    workload_files: Paths = (),
    device: Literal["auto", "cuda", "cpu"] = "auto",
    gpu_mem: str | None = None,
    card: str | None = None,
    backbone: str | None = None,
    width: float | None = None,
    norm: str | None = None,
    image_size: int | None = None,
    batch: int | None = None,
    micro_batch: int | None = None,
    precision: str | None = None,
    memory_format: str | None = None,
    data_workers: int | None = None,
    download: bool = False,
    seed: int | None = None,
    threads: int | None = None,
    on_foreign: OnForeign = "warn",
    time_limit: Seconds = 86_400.0,
    run_limit: Seconds | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> LearningRecord:
    """Train workloads and score them on held-out images, as ``ffprof learn`` does.

    Arguments that are not listed are the command's options of these names.

    Args:
        workloads: ids, as a list or separated by commas; by default one of each core method.
        data: a set of ``ffprof data``, ``"teacher"``, or ``"imagefolder:DIR"``.
        epochs: passes over the training images.
        seeds: how many, from ``seed`` on, or which.
        sweep: what is varied, such as ``{"classes": [2, 4, 8]}``.
        tune: trials a workload that search its settings on the validation images.
        out: folder of the result file; by default none is kept.
        progress: show on standard error what is going on.

    Returns:
        the record; ``print`` shows its table, a notebook the whole report.

    Raises:
        FfprofError: it is impossible, or no run was trained to its end.
        KeyboardInterrupt: as it came; with ``out``, what is done by then is stored.
    """
    asked = dict(locals())
    from ffprof.experiments.learning.options import LearningOptions
    from ffprof.experiments.learning.plan import prepare_study
    from ffprof.experiments.learning.runner import run_study

    words = {
        "seeds": str(seeds) if isinstance(seeds, int) else "".join(f"{one}," for one in seeds),
        "sweep": _sweep(sweep),
    }
    with folder_for(out) as folder, without_main():
        wanted = LearningOptions.of(asked | words)
        with prepare_study(options_of(asked, folder), wanted) as request:
            command = recorded(words_of(learn, asked))
            record = request.record.model_copy(update={"command": command})
            outcome = run_study(replace(request, record=record), progress_or_none(progress))
    if outcome.interrupt is not None:
        raise outcome.interrupt
    record = outcome.record
    if not any(run.outcome == "ok" for run in record.runs):
        first = next((one.message for one in record.runs if one.message), outcome.stopped or "")
        raise NothingMeasuredError(f"no run was trained to its end: {first}", "see what it says")
    return record


def _sweep(values: dict[str, Sequence[int | str]] | None) -> str | None:
    if values is None:
        return None
    if len(values) != 1:
        raise UsageError(f"sweep={values!r}", "vary one thing, as in sweep={'classes': [2, 4]}")
    ((name, listed),) = values.items()
    return f"{name.replace('_', '-')}={','.join(map(str, listed))}"
