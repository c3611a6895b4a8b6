"""What ``import ffprof`` gives in addition to decorators: what the commands do, for notebooks and
scripts.

Results print themselves (``ffprof.result``). Nothing is written or printed unless requested.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ffprof.arguments import checked, words_of
from ffprof.errors import NothingMeasuredError, UnmeasuredError, UsageError
from ffprof.harness.process.folder import temporary_folder
from ffprof.records.audit import Record
from ffprof.records.redaction import recorded
from ffprof.records.store import RESULT_FILES, AnyRecord, find_record, read_any, save
from ffprof.result import CheckResult, Comparison

if TYPE_CHECKING:
    from ffprof.experiments.campaign import Progress
    from ffprof.experiments.options import Options

Names = str | Sequence[str]
Paths = str | Path | Sequence[str | Path]
OnForeign = Literal["warn", "wait", "refuse"]
Seconds = Annotated[float, Field(ge=0.1)]  # the least that the commands allow, too
Count = Annotated[int, Field(ge=1)]


def load(path: str | Path) -> Any:
    """Read a result file of any kind.

    An audit, a frontier, a search for the largest size, a calibration, or a learning study.

    Returns:
        a ``Record``, a ``FrontierRecord``, a ``CalibrationRecord`` or a ``LearningRecord``; of a
        folder its newest.

    A file that contradicts itself, or was changed after it was written, is a ``UserWarning``.

    Raises:
        RecordError: absent, damaged, or written by a newer ffprof.
    """
    return _loaded(find_record(Path(path), RESULT_FILES))


def _loaded(path: Path) -> AnyRecord:
    from ffprof.analysis.contradictions import alarms

    reading = read_any(path)
    if told := alarms(reading):
        warnings.warn(f"{path}: {'; '.join(told)}", stacklevel=3)
    return reading.record


@checked
def run(
    workloads: Names | None = None,
    *,
    preset: str | None = None,
    workload_files: Paths = (),
    device: Literal["auto", "cuda", "cpu", "estimate"] = "auto",
    gpu_mem: str | None = None,
    card: str | None = None,
    card_files: Paths = (),
    display: bool = False,
    rounds: Count = 3,
    looks: bool = False,
    backbone: str | None = None,
    width: float | None = None,
    norm: str | None = None,
    image_size: int | None = None,
    batch: int | None = None,
    micro_batch: int | None = None,
    precision: str | None = None,
    memory_format: str | None = None,
    data: str | None = None,
    data_workers: int | None = None,
    download: bool = False,
    seed: int | None = None,
    threads: int | None = None,
    steps: int | None = None,
    on_foreign: OnForeign = "warn",
    time_limit: Seconds = 600.0,
    run_limit: Seconds | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> Record:
    """Measure workloads under one recipe, as ``ffprof run`` does with the options of these names.

    Args:
        workloads: ``"core"``, ``"all"`` or ids, as a list or separated by commas; core by default,
            and everything in ``workload_files``.
        preset: the recipe to start from; by default that of the device.
        workload_files: Python files with methods of your own.
        device: where to measure; ``auto`` is the GPU if there is one, else the processor.
            ``estimate`` measures nothing.
        gpu_mem: the budget, such as ``"8GB"``; ``card`` and ``card_files`` name it otherwise.
        card: the budget by a card's name.
        card_files: profiles of cards of your own.
        display: the card draws a desktop, too.
        rounds: trials of each workload; throughput gets verdicts at 5, 9 and 15.
        looks: take 5 rounds, and 9 and 15 while a claim on throughput is undecided.
        backbone: instead of the preset's, as are all up to ``steps``.
        width: a factor of all channels.
        norm: ``batch`` or ``group``.
        image_size: pixels along each side.
        batch: images an optimizer step.
        micro_batch: images at a time under accumulation.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        memory_format: ``contiguous`` or ``channels_last``.
        data: as after ``--data``.
        data_workers: processes that load images from files.
        download: download CIFAR if it is not there.
        seed: of weights, batches and the order of trials.
        threads: of a trial on a processor.
        steps: timed optimizer steps of a trial.
        on_foreign: what to do about processes of others on the GPU.
        time_limit: seconds a trial may take.
        run_limit: seconds the whole run may take; the record then lacks trials.
        out: folder of the result file; by default none is kept.
        progress: show on standard error what is going on.

    Returns:
        the record; ``print`` shows its table, a notebook the whole report.

    Raises:
        FfprofError: it is impossible, or no trial gave a number.
        KeyboardInterrupt: as it came; with ``out``, what is done by then is stored.
    """
    asked = dict(locals())
    from ffprof.analysis.statistics.looks import LOOKS
    from ffprof.experiments.audit.looks import remember_new, run_looks
    from ffprof.experiments.audit.plan import prepare

    if looks:
        if rounds != 3:
            raise UsageError("looks and rounds both say how many rounds", "leave one of them out")
        asked["rounds"] = LOOKS[0]
    with folder_for(out) as folder, without_main():
        with prepare(options_of(asked, folder)) as (request,):
            command = recorded(words_of(run, asked))
            record = request.record.model_copy(update={"command": command})
            request = replace(request, record=record)
            outcome = run_looks(request, lambda: progress_or_none(progress), looks=looks)
        record = outcome.record
        if request.device == "cuda" and request.target is None:
            remember_new(record, request.record)
    if outcome.interrupt is not None:
        raise outcome.interrupt
    if not any(trial.outcome == "ok" for trial in record.trials):
        first = next((one.message for one in record.trials if one.message), outcome.stopped or "")
        raise NothingMeasuredError(f"no trial gave a number: {first}", "see what it says")
    return record


@checked
def compare(
    before: str | Path | Record, after: str | Path | Record, baseline: str | None = None
) -> Comparison:
    """Compare memory and speed of two results, or of two workloads of one.

    Args:
        before: a result or its file, or a folder, of which the newest is meant.
        after: another one; with ``baseline``, a workload of ``before``.
        baseline: another workload of ``before``, which ``after`` is compared with.

    Raises:
        UsageError: they cannot be compared.
        RecordError: a file cannot be read.
    """
    from ffprof.analysis.comparison import compare_records, two_rows
    from ffprof.hardware.machine import compare_machines
    from ffprof.report.audit import make_document
    from ffprof.report.comparison import comparison_document, comparison_json

    (old, was) = _audit(before)
    if baseline is not None:
        found = two_rows(old, str(after), baseline)
        verdicts = [verdict.model_dump(mode="json") for verdict in found.verdicts]
        title = f"{after} against {baseline}: {old.subject}, {old.evidence}"
        return Comparison(
            document=replace(make_document(found), title=title),
            json={"schema_version": 1, "kind": "verdicts", "verdicts": verdicts},
        )
    (new, now) = _audit(after)
    found_changes = compare_records(old, new)
    differ = compare_machines(
        old.machine, new.machine, "cpu" if old.evidence == "measured (cpu)" else "cuda"
    )
    machines = (*differ.hardware, *differ.software)
    return Comparison(
        document=comparison_document(found_changes, (was, now), machines),
        json=comparison_json(found_changes, (was, now), machines),
    )


@checked
def check(
    baseline: str | Path | Record,
    current: str | Path | Record | None = None,
    *,
    thresholds: str | Path | None = None,
    budget: str | None = None,
    throughput: Literal["gate", "advice", "off"] | None = None,
    update_baseline: bool = False,
    rounds: Count | None = None,
    workload_files: Paths = (),
    card_files: Paths = (),
    data: str | None = None,
    on_foreign: OnForeign = "warn",
    time_limit: float | None = None,
    run_limit: Seconds | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> CheckResult:
    """Hold a result against a baseline, as ``ffprof check`` does with the options of these names.

    Args:
        baseline: a result or its file, or a folder with one for every recipe and torch.
        current: the new result; without it, what the baseline holds is measured again here.
        thresholds: a TOML file: how much may be lost.
        budget: the most that any workload may take, such as ``"7.5GiB"``.
        throughput: judge speeds, only tell them, or leave them out.
        update_baseline: make the new result the baseline.
        rounds: of measuring again, as are all that follow; by default the baseline's.
        workload_files: where the baseline's are now.
        card_files: profiles of cards of your own.
        data: where the baseline's images are now.
        on_foreign: what to do about processes of others on the GPU.
        time_limit: seconds a trial may take.
        run_limit: seconds that measuring may take.
        out: folder to keep the new result in; by default it is not kept.
        progress: show on standard error what is going on.

    Returns:
        what was found; what got worse is no exception.

    Raises:
        FfprofError: something cannot be meant, read or measured, or the baseline not updated.
        KeyboardInterrupt: as it came.
    """
    from ffprof.experiments.check.runner import CheckRequest, run_checks

    def again(record: Record, path: Path) -> Record:
        from ffprof.experiments.check.rerun import run_again

        shown = progress_or_none(progress)
        return run_again(
            record,
            path,
            None if out is None else Path(out),
            rounds=rounds,
            time_limit=time_limit,
            run_limit=run_limit,
            workload_files=_paths(workload_files),
            card_files=_paths(card_files),
            data=data,
            on_foreign=on_foreign,
            progress=shown,
            say=shown.says,
        )

    with folder_for(None) as folder, without_main():
        if isinstance(current, Record):
            current = _saved(current, folder / "the new result")
        if isinstance(baseline, Record):
            if update_baseline:
                raise UsageError("a baseline that is updated is a file", "name it by its path")
            baseline = _saved(baseline, folder / "the baseline")
        checks = run_checks(
            CheckRequest(
                baseline=Path(baseline),
                current=None if current is None else Path(current),
                thresholds=None if thresholds is None else Path(thresholds),
                budget=budget,
                throughput=throughput,
                update=update_baseline,
                again=again,
            )
        )
    refused: list[UnmeasuredError] = [one.refused for one in checks if one.refused]
    if refused:
        raise refused[0]
    return CheckResult(checks=tuple(checks))


def _saved(record: Record, folder: Path) -> Path:
    folder.mkdir()
    save(record, folder / "audit.json")
    return folder / "audit.json"


def options_of(asked: dict[str, Any], folder: Path) -> Options:
    """What ``run`` and ``learn`` have in common, in the command's types."""
    from ffprof.experiments.options import Options

    known = {name: asked[name] for name in Options.__dataclass_fields__ if name in asked}
    words = known["workloads"]
    known["workloads"] = words if isinstance(words, str | None) else ",".join(words)
    files: dict[str, Any] = {
        n: _paths(known[n]) for n in ("workload_files", "card_files") if n in known
    }
    return Options(**known | files | {"out": folder, "estimates": False})


def _paths(paths: Paths) -> tuple[Path, ...]:
    return tuple(map(Path, [paths] if isinstance(paths, str | Path) else paths))


@contextmanager
def folder_for(out: str | Path | None) -> Iterator[Path]:
    """The folder of a result file, or one that is gone afterwards."""
    if out is not None:
        yield Path(out)
        return
    with temporary_folder() as folder:
        yield folder


@contextmanager
def without_main() -> Iterator[None]:
    """Children import nothing of the calling script, which would otherwise run once more in each.

    They need nothing of it: what they call are functions of this package.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _audit(result: str | Path | Record) -> tuple[Record, str]:
    """An audit, and what it is called."""
    from ffprof.records import store

    if isinstance(result, Record):
        return result, f"the result of {result.created:%Y-%m-%d %H:%M:%S}"
    path = find_record(Path(result))
    record = _loaded(path)
    return (record if isinstance(record, Record) else store.load(path)), str(path)


def progress_or_none(shown: bool) -> Progress:
    """The terminal's progress, or one that says nothing."""
    from rich.console import Console

    from ffprof.cli.output.progress import QuietProgress, progress_for

    return progress_for() if shown else QuietProgress(Console(quiet=True))
