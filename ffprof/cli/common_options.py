"""Options that commands share, and which were written on the command line as opposed to defaults.

Free of everything but typer.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import typer

GPU_MEM = typer.Option(
    None, help="The budget: a card sold with this size; 8GB by default. A larger GPU is held to it."
)
CARD = typer.Option(None, help="The budget by a card's name; ffprof cards lists them.")
CARD_FILE = typer.Option(
    [],
    help="A card of your own, as a profile: see ffprof cards --template; may be repeated.",
    readable=False,
)
DISPLAY = typer.Option(
    False, "--display", help="The card draws a desktop too: leave what that takes out."
)


class OnForeign(StrEnum):
    """What to do about processes of others on the GPU."""

    warn = "warn"
    wait = "wait"
    refuse = "refuse"


ON_FOREIGN = typer.Option(
    OnForeign.warn,
    help="Processes of others on the GPU: go on and say so, wait for their end, or stop.",
)


PRESET = typer.Option(
    None, help="Recipe to start from; ffprof workloads lists them and their devices."
)
WORKLOADS = typer.Option(
    None,
    help="core, all, or ids separated by commas; by default core, and all of --workload-file.",
)
WORKLOAD_FILE = typer.Option(
    [],
    help="A Python file with methods of your own; may be given more than once.",
    readable=False,
)
BACKBONE = typer.Option(
    None, help="vgg8, vgg11, vgg16, resnet18, resnet34, or flat-D-W: D blocks of W channels."
)
WIDTH = typer.Option(None, help="Scales all channels.")
NORM = typer.Option(None, help="batch or group.")
IMAGE_SIZE = typer.Option(None, help="Pixels along each side.")
BATCH = typer.Option(None, help="Effective batch: images an optimizer step.")
MICRO_BATCH = typer.Option(None, help="Images at a time under accumulation.")
PRECISION = typer.Option(None, help="fp32, or autocast to bf16 or fp16.")
MEMORY_FORMAT = typer.Option(None, help="contiguous or channels_last.")
DATA = typer.Option(
    None,
    help="digits (real, embedded), synthetic, cifar10:DIR, cifar100:DIR or imagefolder:DIR.",
)
DATA_WORKERS = typer.Option(None, help="Processes that load images from files; up to 4 by default.")
DOWNLOAD = typer.Option(False, "--download", help="Download CIFAR if it is not in DIR.")
SEED = typer.Option(None, help="Weights, batches and order of trials.")
THREADS = typer.Option(None, help="CPU threads of a trial; all cores by default.")
STEPS = typer.Option(None, help="Timed optimizer steps of a trial.")
TIME_LIMIT = typer.Option(600.0, min=0.1, help="Seconds a trial may take.")


def written_options(context: typer.Context) -> dict[str, Any]:
    """By the name of their parameter, with the words of those that are chosen from a list."""
    return {
        name: getattr(value, "value", value)
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }


def option_words(written: dict[str, Any]) -> tuple[str, ...]:
    """Options as they are typed; ``written`` has none that is on or off."""
    return tuple(
        word
        for name, value in written.items()
        for one in (value if isinstance(value, list) else [value])
        for word in (f"--{name.replace('_', '-')}", str(one))
    )


def first_look(written: dict[str, Any]) -> int:
    """The rounds that ``--looks`` begins with.

    Raises:
        UsageError: something else that was written says how many rounds there are.
    """
    from ffprof.analysis.statistics.looks import LOOKS
    from ffprof.errors import UsageError

    if "rounds" in written:
        raise UsageError("--looks and --rounds both say how many rounds", "leave one of them out")
    if "resume" in written:
        raise UsageError("--looks begins an audit", "raise --rounds to the next look to go on")
    for name in ("max_batch", "max_depth"):
        if name in written:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--looks is for audits, and {option} is none", "leave one out")
    if written.get("device") == "estimate":
        raise UsageError(
            "--looks takes rounds, and --device estimate measures none", "leave one of them out"
        )
    return LOOKS[0]
