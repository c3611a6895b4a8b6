"""The options that say what is run, shared by commands; free of everything but typer."""

from __future__ import annotations

import typer

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
