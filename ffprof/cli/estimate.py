"""``ffprof estimate``: peak CUDA memory of workloads, or of any script, without a GPU."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ffprof.cli.common_options import (
    BUDGET,
    CUT,
    FORMAT,
    MODEL,
    Format,
    complete_presets,
    takes,
    written_options,
)
from ffprof.errors import UsageError
from ffprof.experiments.options import Options

if TYPE_CHECKING:
    from ffprof.experiments.model import ModelRequest

# What is said about a command, and what about one only; all else is about workloads.
_OF_BOTH = {"gpu_mem", "card", "card_file", "display", "allocator", "snapshot", "format"}
_OF_BOTH |= {"largest", "sweep", "plot"}
_OF_COMMAND = {"steps", "cards", "time_limit", "strict", "multiple_of"}
# Of a model by its name: what else is its library's.
_OF_MODEL = {
    *BUDGET, "seq", "lora", "batch", "image_size", "precision", "memory_format", "allocator",
    "no_workspaces", "detail", "largest", "sweep", "plot", "snapshot", "format", "card_file",
    "advise", "show",
}  # fmt: skip


@takes("workloads", "workload_files", *MODEL, *CUT, *BUDGET)
def estimate(
    context: typer.Context,
    options: Options,
    command: list[str] = typer.Argument(
        None,
        metavar="[MODEL | -- COMMAND]",
        help="hf:NAME, timm:NAME or torchvision:NAME; or a script to run on a device that is not "
        "there.",
    ),
    seq: int = typer.Option(None, min=1, help="Of a model of hf: tokens of a sequence."),
    lora: int = typer.Option(
        None, min=1, help="Of a model of hf: rank of adapters that are trained in place of it."
    ),
    preset: str = typer.Option(
        None,
        help="Recipe to start from; by default that of GPUs.",
        autocompletion=complete_presets,
    ),
    allocator: str = typer.Option(
        None, help="default, expandable_segments, or what PYTORCH_ALLOC_CONF takes."
    ),
    no_workspaces: bool = typer.Option(
        False, "--no-workspaces", help="Leave out the workspaces of cuBLAS and cuDNN."
    ),
    detail: bool = typer.Option(
        False,
        "--detail",
        help="Show what is allocated at the peak; always shown for a single workload.",
    ),
    against: str = typer.Option(
        None, help="Compare with another workload: the difference at the peak, by layer."
    ),
    largest: str = typer.Option(
        None,
        metavar="SIZE",
        help="Find the largest size that fits the budget: micro-batch, batch, depth (of "
        "flat-D-W), or an argument of your own step; of a command, the name of what {} sets in it.",
    ),
    multiple_of: int = typer.Option(
        None, help="Of a command with --largest: what the value must be a multiple of."
    ),
    sweep: str = typer.Option(
        None,
        help="Show how memory grows: batch=8,16,32, depth=4,8,16, image-size=64,128,224, or by an "
        "argument of your own step; of a command, the value that {} stands for.",
    ),
    advise: bool = typer.Option(
        False, "--advise", help="Try changes on a step of your own: which save how much memory."
    ),
    show: str = typer.Option(
        None, metavar="CHANGE", help="With --advise: print the code of one change."
    ),
    plot: Path = typer.Option(None, help="Draw the sweep: a .png, .svg or .pdf file."),
    snapshot: Path = typer.Option(
        None, help="Write one workload's or a command's allocations for pytorch.org/memory_viz."
    ),
    steps: int = typer.Option(3, min=1, help="Of a command: optimizer steps to run."),
    cards: int = typer.Option(1, min=1, max=16, help="Of a command: how many such cards it sees."),
    time_limit: float = typer.Option(
        600.0, min=0.1, help="Of a command: seconds that it may take."
    ),
    strict: bool = typer.Option(
        False, "--strict", help="Of a command: fail if any call was assumed or is unknown."
    ),
    format: Format = FORMAT,
) -> None:
    """Estimate GPU memory.

    No GPU is needed, and no result file is written. Of workloads nothing is run; what is not given
    comes from the preset. A command after -- is run as it is, for a few steps, by PyTorch's own
    CUDA code on a device that is not there, which counts memory and computes nothing:

    ffprof estimate --card "RTX 4060" -- python train.py --batch-size 64

    ffprof estimate --largest "--batch-size" -- python train.py --batch-size {}

    A model by its name is trained by a standard step, with random data:

    ffprof estimate hf:bert-base-uncased --seq 512 --batch 8
    """
    model = _model_of(context, command or [], seq, lora)
    if command and model is None:
        known = _OF_BOTH | _OF_COMMAND
        _check_options(context, allowed=known, what="is about workloads, not about a command")
        asked = {"largest": largest, "sweep": sweep, "plot": plot, "unit": multiple_of}
        _estimate_command(
            options, tuple(command), steps, cards, time_limit, allocator, snapshot, format, strict,
            asked,
        )  # fmt: skip
    if model is None:
        _check_options(context, refused=_OF_COMMAND, what="is about a command, and there is none")
    from ffprof.cli.output.estimate import tell
    from ffprof.experiments.estimate import EstimateRequest, estimate_session
    from ffprof.experiments.question import EstimateQuestion, check_question

    question = EstimateQuestion(
        changes=options.changes,
        detail=detail,
        against=against,
        largest=largest,
        sweep=sweep,
        plot=plot,
        snapshot=snapshot,
        own=bool(options.workload_files) or model is not None,
        advise=advise or show is not None,
        show=show,
    )
    request = EstimateRequest(
        preset=preset,
        workloads=options.workloads,
        workload_files=options.workload_files,
        gpu_mem=options.gpu_mem,
        card=options.card,
        changes=options.changes,
        allocator=allocator,
        workspaces=not no_workspaces,
        single="--against" if against is not None else "--snapshot" if snapshot else "",
        against=against,
        deep=largest == "depth" and model is None,
        card_files=options.card_files,
        display=options.display,
        model=model,
    )
    swept = check_question(question)
    if plot is not None:
        from ffprof.report.exporters.plots import check_matplotlib

        check_matplotlib()
    with estimate_session(request) as session:
        tell(session, question, swept, format)


def _model_of(
    context: typer.Context, words: Sequence[str], seq: int | None, lora: int | None
) -> ModelRequest | None:
    """The model that the first word names, if it is one's.

    Raises:
        UsageError: other words or options do not go with it, or there is none for those that do.
    """
    from ffprof.workload.models import is_model, may_be_model, parse_model

    if not words or not (is_model(words[0]) or (len(words) == 1 and may_be_model(words[0]))):
        for option, value in (("--seq", seq), ("--lora", lora)):
            if value is not None:
                raise UsageError(f"{option} is about a model", "name one, such as hf:gpt2")
        return None
    from ffprof.experiments.model import ModelRequest

    if len(words) > 1:
        raise UsageError(
            f"{words[0]} is a model, and {words[1]!r} stands behind it", "name one model"
        )
    _check_options(context, allowed=_OF_MODEL, what="does not go with a model by its name")
    return ModelRequest(name=parse_model(words[0], lora), seq=seq)


def _estimate_command(
    options: Options,
    command: tuple[str, ...],
    steps: int,
    cards: int,
    time_limit: float,
    allocator: str | None,
    snapshot: Path | None,
    format: Format,
    strict: bool,
    over_values: dict[str, Any],
) -> None:
    """Run it, print what it takes, and end with the exit code of its status.

    Raises:
        Exit: with that code, unless it is 0.
    """
    from ffprof.cli.output.script import exit_code_of, print_script, tell_values
    from ffprof.experiments.script.question import ScriptQuestion, check_values
    from ffprof.experiments.script.request import ScriptRequest
    from ffprof.experiments.script.runner import estimate_script
    from ffprof.harness.process.streams import say

    asked = ScriptQuestion(snapshot=snapshot, **over_values)
    values = check_values(asked, command)
    request = ScriptRequest(
        command=command,
        gpu_mem=options.gpu_mem,
        card=options.card,
        card_files=options.card_files,
        cards=cards,
        display=options.display,
        allocator=allocator,
        steps=steps,
        time_limit=time_limit,
        snapshot=snapshot,
    )
    if values is not None:
        raise typer.Exit(tell_values(request, asked, values, format, strict=strict))
    found = estimate_script(request, say)
    print_script(found, format, snapshot)
    raise typer.Exit(exit_code_of(found, strict=strict))


def _check_options(
    context: typer.Context,
    *,
    what: str,
    allowed: Collection[str] | None = None,
    refused: Collection[str] = (),
) -> None:
    written = [one for one in written_options(context) if one != "command"]
    for name in written:
        if name in refused or (allowed is not None and name not in allowed):
            option = f"--{name.replace('_', '-')}"
            add = "" if allowed is not None else ", or add a command: -- python train.py"
            raise UsageError(f"{option} {what}", f"leave it out{add}")
