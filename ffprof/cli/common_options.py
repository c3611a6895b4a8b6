"""Options that commands share, each defined once, what Tab offers for them, and what was written.

Imports nothing heavy: every ``--help`` and every Tab reads this.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import typer

from ffprof.experiments.options import Options


def complete_workloads(incomplete: str) -> list[str]:
    """Ids after the last comma, and before any of them also core and all."""
    from ffprof.workload import workload_names

    before, comma, last = incomplete.rpartition(",")
    names = workload_names() if comma else ["core", "all", *workload_names()]
    taken = before.split(",")
    found = [name for name in names if name.startswith(last) and name not in taken]
    return [f"{before}{comma}{name}" for name in found]


def complete_presets(incomplete: str) -> list[str]:
    """Names of presets."""
    from ffprof.workload import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_cards(incomplete: str) -> list[str]:
    """Names of cards without their maker's word and without blanks, in the case that is typed."""
    from ffprof.hardware.cards import known_cards

    words = [card.name.removeprefix("GeForce ").replace(" ", "") for card in known_cards()]
    if incomplete.islower():
        words = [word.lower() for word in words]
    return [word for word in words if word.startswith(incomplete)]


def complete_data(incomplete: str) -> list[str]:
    """Names of data sets."""
    from ffprof.harness.data.catalogue import DATA

    return [name for name in DATA if name.startswith(incomplete)]


Device = Literal["auto", "cuda", "cpu", "estimate"]
OnForeign = Literal["warn", "wait", "refuse"]
Format = Literal["table", "markdown", "json"]

FORMAT = typer.Option("table", "--format", "-f", help="Output format.")
FULL = typer.Option(
    False, "--full", help="Print details too: verdicts in full, gradients, the ledger, notes."
)
RELATIVE_TO = typer.Option(
    None,
    "--relative-to",
    help="Row that ratios are to; by default the smallest of the family that claims are against.",
)
CARD_FILES = typer.Option(
    [],
    "--card-file",
    help="Profile of your own card: see ffprof cards --template; may be repeated.",
    readable=False,
)
ON_FOREIGN = typer.Option(
    "warn",
    help="If other processes use the GPU: continue with a note, wait for their end, or stop.",
)


def _shared(
    preset: str = typer.Option(
        None,
        help="Recipe to start from; ffprof workloads lists them and their devices.",
        autocompletion=complete_presets,
    ),
    workloads: str = typer.Option(
        None,
        help="core, all, or ids separated by commas; by default core, and all of --workload-file.",
        autocompletion=complete_workloads,
    ),
    workload_files: list[Path] = typer.Option(
        [],
        "--workload-file",
        help="Python file with your own methods; may be repeated.",
        readable=False,
    ),
    gpu_mem: str = typer.Option(
        None,
        help="Budget: a card sold with this size; 8GB by default. A larger GPU is limited to it.",
    ),
    card: str = typer.Option(
        None,
        help="Budget by a card's name; ffprof cards lists them.",
        autocompletion=complete_cards,
    ),
    card_files: list[Path] = CARD_FILES,
    display: bool = typer.Option(
        False, "--display", help="The card also drives a desktop: subtract the memory for that."
    ),
    backbone: str = typer.Option(
        None, help="vgg8, vgg11, vgg16, resnet18, resnet34, or flat-D-W: D blocks of W channels."
    ),
    width: float = typer.Option(None, help="Scales all channels."),
    norm: str = typer.Option(None, help="batch or group."),
    image_size: int = typer.Option(None, help="Pixels along each side."),
    batch: int = typer.Option(None, help="Effective batch: images an optimizer step."),
    micro_batch: int = typer.Option(None, help="Images at a time under accumulation."),
    precision: str = typer.Option(None, help="fp32, or autocast to bf16 or fp16."),
    memory_format: str = typer.Option(None, help="contiguous or channels_last."),
    data: str = typer.Option(
        None,
        help="digits (real, embedded), synthetic, a set that ffprof data lists (fashion-mnist, or "
        "fashion-mnist:DIR), imagefolder:DIR, or (learn) teacher.",
        autocompletion=complete_data,
    ),
    data_workers: int = typer.Option(
        None, help="Processes that load images from files; up to 4 by default."
    ),
    download: bool = typer.Option(
        False, "--download", help="Download the set of --data if it is absent."
    ),
    seed: int = typer.Option(None, help="Weights, batches and order of trials."),
    threads: int = typer.Option(None, help="CPU threads of a trial; all cores by default."),
    steps: int = typer.Option(None, help="Timed optimizer steps of a trial."),
    on_foreign: OnForeign = ON_FOREIGN,
    time_limit: float = typer.Option(600.0, min=0.1, help="Time limit of a trial in seconds."),
    run_limit: float = typer.Option(
        None, min=0.1, help="Time limit of the whole run in seconds; finished trials are kept."
    ),
    out: Path = typer.Option(Path("audits"), help="Folder for the result file."),
) -> None:
    """All of them; only its signature is used."""


MODEL = ("backbone", "width", "norm", "image_size", "batch")
CUT = ("micro_batch", "precision", "memory_format")
BUDGET = ("gpu_mem", "card", "card_files", "display")
MEASURING = (
    "data", "data_workers", "download", "seed", "threads", "steps", "on_foreign", "time_limit",
    "run_limit", "out",
)  # fmt: skip


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these shared options, as the ``Options`` that it is called with."""
    shared = inspect.signature(_shared, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        at = next(i for i, one in enumerate(own) if one.name == "options")
        # By keyword only, so that an option with a default may stand before one without.
        parameters = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for one in (*own[:at], *(shared[name] for name in names), *own[at + 1 :])
        ]

        @functools.wraps(command)
        def called(**values: Any) -> None:
            taken = {name: values.pop(name) for name in names}
            lists = {name: tuple(one) for name, one in taken.items() if isinstance(one, list)}
            command(**values, options=Options(**taken | lists))

        vars(called)["__signature__"] = inspect.Signature(parameters)
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return decorate


def written_options(context: typer.Context) -> dict[str, Any]:
    """By the name of their option."""
    return {
        name.replace("_files", "_file"): value
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
